#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "cuda/check.h"

namespace mlx_native::cuda {

/// A point in a stream, passed when everything queued before it is done.
class Moment {
 public:
  static Result<std::shared_ptr<const Moment>> record(cudaStream_t stream) {
    auto moment = std::make_shared<Moment>();
    moment->stream_ = stream;
    MLXN_TRY(check(cudaEventCreateWithFlags(&moment->event_, cudaEventDisableTiming), "creation of an event"));
    MLXN_TRY(check(cudaEventRecord(moment->event_, stream), "recording an event"));
    return moment;
  }
  Moment() = default;
  ~Moment() {
    if (event_) (void)cudaEventDestroy(event_);
  }
  Moment(const Moment&) = delete;
  Moment& operator=(const Moment&) = delete;

  bool passed() const { return cudaEventQuery(event_) == cudaSuccess; }
  /// What is queued on `stream` from now on runs after it.
  Result<void> hold(cudaStream_t stream) const {
    if (stream == stream_) return {};  // as it does anyway
    return check(cudaStreamWaitEvent(stream, event_, 0), "waiting for another stream");
  }

 private:
  cudaEvent_t event_ = nullptr;
  cudaStream_t stream_ = nullptr;
};

}  // namespace mlx_native::cuda
