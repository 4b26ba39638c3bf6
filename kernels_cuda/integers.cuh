// Integer types of fixed width, because NVRTC has no <stdint.h>.
#pragma once

typedef unsigned int u32;
typedef unsigned long long u64;
