#pragma once

#include "formats/format.h"

namespace mlx_native {

/// What the 16 codes of the IQ4 formats stand for, + 128, ascending: steps are wider where values are rarer.
K_TABLE uint8_t kIq4Values[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};

}  // namespace mlx_native
