"""Writes genuine Nanonis files, by the format and independent of the readers.

Maps are given as a reader must return them, ``[y, x]`` with y up and x to the right, and are written point by point in
the order in which the tip measures: a downward scan from the top, a backward line from the right.
"""

from collections.abc import Mapping, Sequence

import numpy as np


def scan_bytes(
    images: Mapping[tuple[str, str], Mapping[str, np.ndarray]],
    *,
    range_m: tuple[float, float],
    scan_direction: str = "up",
    offset_m: tuple[float, float] = (0.0, 0.0),
    angle_deg: float = 0.0,
    bias: float = -0.05,
    set_point_a: float = 25e-12,
    comment: str = "",
    change: Mapping[str, str | None] | None = None,
    encoding: str = "utf-8",
    order: str = ">f4",
) -> bytes:
    """Return a .sxm file.

    images
        By name and unit, the images (y, x) of the directions ``forward``, ``backward`` or both. Lines that were not
        scanned are NaN.
    change
        Blocks of the header to replace, or to leave out (None).
    """
    first = next(iter(next(iter(images.values())).values()))
    ny, nx = first.shape
    signals = ";".join(f"{name} ({unit})" for name, unit in images)
    rows = []
    for number, ((name, unit), directions) in enumerate(images.items()):
        told = "both" if len(directions) == 2 else next(iter(directions))
        rows.append(f"\t{number}\t{name.replace(' ', '_')}\t{unit}\t{told}\t1.000E+0\t0.000E+0")
    blocks: dict[str, str | None] = {
        "NANONIS_VERSION": "2",
        "SCANIT_TYPE": "              FLOAT            MSBFIRST",
        "REC_DATE": " 29.04.2023",
        "REC_TIME": "01:22:24",
        "REC_TEMP": "      290.0000000000",
        "ACQ_TIME": "        92.0",
        "SCAN_PIXELS": f"{nx:10d}{ny:10d}",
        "SCAN_FILE": r"D:\Data\scan.sxm",
        "SCAN_TIME": f"{0.1792:22.3E}{0.1792:22.3E}",
        "SCAN_RANGE": f"{range_m[0]:22.6E}{range_m[1]:22.6E}",
        "SCAN_OFFSET": f"{offset_m[0]:22.6E}{offset_m[1]:22.6E}",
        "SCAN_ANGLE": f"{angle_deg:22.3E}",
        "SCAN_DIR": scan_direction,
        "BIAS": f"{bias:22.3E}",
        "Z-CONTROLLER": "\tName\ton\tSetpoint\tP-gain\tI-gain\tT-const\n"
        f"\tlog Current\t1\t{set_point_a:.3E} A\t3.514E-12 m\t3.479E-8 m/s\t1.010E-4 s",
        "COMMENT": comment,
        "NanonisMain>SW Version": "Generic 5",
        "Scan>channels": signals,
        "DATA_INFO": "\tChannel\tName\tUnit\tDirection\tCalibration\tOffset\n" + "\n".join(rows) + "\n",
    }
    blocks |= change or {}
    header = "".join(f":{key}:\n{text}\n" for key, text in blocks.items() if text is not None)
    content = [f"{header}:SCANIT_END:\n\n\n".encode(encoding), b"\x1a\x04"]
    for directions in images.values():
        for direction in ("forward", "backward"):
            if direction not in directions:
                continue
            lines = range(ny) if scan_direction == "up" else range(ny - 1, -1, -1)
            points = list(range(nx) if direction == "forward" else range(nx - 1, -1, -1))
            content += [directions[direction][line, points].astype(order).tobytes() for line in lines]
    return b"".join(content)


def grid_bytes(
    sweeps: Mapping[str, np.ndarray],
    *,
    size_m: tuple[float, float],
    sweep: tuple[float, float] | Sequence[tuple[float, float, int]],
    signal: str = "Bias (V)",
    centre_m: tuple[float, float] = (0.0, 0.0),
    angle_deg: float = 0.0,
    parameters: Mapping[str, np.ndarray] | None = None,
    bias: float = 0.2,
    set_point_a: float = 25e-12,
    comment: str = "",
    measured: int | None = None,
    rest: str = "zeros",
    change: Mapping[str, str | None] | None = None,
    encoding: str = "utf-8",
    order: str = ">f4",
) -> bytes:
    """Return a .3ds file.

    sweeps
        By name with unit, as in the header, values (point, y, x).
    sweep
        Start and end, or segments of start, end and number of points.
    parameters
        More parameters of the points, (y, x), by name with unit; X and Y are always there.
    measured
        Number of points after which the experiment was stopped.
    rest
        What Nanonis left of the points after that: ``"zeros"`` or ``"nothing"``.
    change
        Entries of the header to replace, or to leave out (None).
    """
    points, ny, nx = next(iter(sweeps.values())).shape
    segments = [] if np.ndim(sweep[0]) == 0 else list(sweep)
    start, end = (segments[0][0], segments[-1][1]) if segments else sweep
    extra = dict(parameters or {})
    experiment = ["X (m)", "Y (m)", *extra]
    table = ";".join(f"{one:.6E},{other:.6E},15E-3,360E-3,{steps},0E+0,0E+0" for one, other, steps in segments)
    entries: dict[str, str | None] = {
        "Grid dim": f'"{nx} x {ny}"',
        "Grid settings": ";".join(f"{value:.6E}" for value in (*centre_m, *size_m, angle_deg)),
        "Filetype": "MLS" if segments else "Linear",
        "Sweep Signal": f'"{signal}"',
        "Fixed parameters": '"Sweep Start;Sweep End"',
        "Experiment parameters": f'"{";".join(experiment)}"',
        "# Parameters (4 byte)": str(2 + len(experiment)),
        "Segment Start (V), Segment End (V), Settling (s), Integration (s), Steps (xn), Lockin, Init. Settling (s)": (
            table or None
        ),
        "Experiment size (bytes)": str(4 * points * len(sweeps)),
        "Points": str(points),
        "Channels": f'"{";".join(sweeps)}"',
        "Delay before measuring (s)": "0.000000E+0",
        "Experiment": '"Grid Spectroscopy"',
        "Start time": '"24.10.2021 20:44:06"',
        "End time": '"25.10.2021 13:53:46"',
        "User": "",
        "Comment": f'"{comment}"' if "\n" in comment or ";" in comment else comment,
        "Bias>Bias (V)": f"{bias:.6E}",
        # The settings of a multi-segment sweep that was not made are there in every file.
        "Bias Spectroscopy>MultiLine Settings : Segment Start (V), Segment End (V), Settling (s), Integration (s),"
        " Steps (xn)": "-1E+0,1E+0,100E-6,100E-6,256",
        "Z-Controller>Setpoint": f"{set_point_a:.6E}",
        "Z-Controller>Setpoint unit": "A",
    }
    entries |= change or {}
    header = "".join(f"{key}={text}\r\n" for key, text in entries.items() if text is not None)
    content = [f"{header}:HEADER_END:\r\n".encode(encoding)]
    turn = np.deg2rad(-angle_deg)  # Nanonis turns frames clockwise
    for number in range(ny * nx):
        row, column = divmod(number, nx)
        if measured is not None and number >= measured:
            if rest == "nothing":
                break
            content.append(bytes(4 * (4 + len(extra) + points * len(sweeps))))
            continue
        u = ((column + 0.5) / nx - 0.5) * size_m[0]
        v = ((row + 0.5) / ny - 0.5) * size_m[1]
        x = centre_m[0] + u * np.cos(turn) - v * np.sin(turn)
        y = centre_m[1] + u * np.sin(turn) + v * np.cos(turn)
        record = [start, end, x, y, *(values[row, column] for values in extra.values())]
        for values in sweeps.values():
            record += list(values[:, row, column])
        content.append(np.array(record, dtype=order).tobytes())
    return b"".join(content)
