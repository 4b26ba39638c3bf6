"""What entries share that needs no torch. It lies beside them and on their path: ``from shared.splines import ...``."""
