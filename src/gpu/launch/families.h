// Which kernel runs an op's problem, on which grid. A family is a row of every GPU backend's table: launch() hands the
// chosen kernels, one or several in order, to the backend as `on.template run<Kernel>(groups, args)`. A family with
// scratch_bytes(args) gets as many bytes in args.scratch.
//
// A Kernel here is a kernel of gpu/kernels with its parameters bound:
//   Args, kThreads (of a group), kScratchBytes, run(thread, args, scratch)
#pragma once

#include "formats/list.h"
#include "gpu/launch/attention.h"
#include "gpu/launch/checksum.h"
#include "gpu/launch/elementwise.h"
#include "gpu/launch/fused.h"
#include "gpu/launch/matmul.h"
#include "gpu/launch/moe.h"
#include "gpu/launch/rope.h"
#include "gpu/launch/sampling.h"
