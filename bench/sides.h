// The sides of a comparison: this library, and others behind peer.h.
#pragma once

#include <memory>
#include <string>

#include "peer.h"
#include "problem.h"

namespace bench {

class Side {
 public:
  virtual ~Side() = default;
  virtual void prepare(const Products& products) = 0;
  virtual void run(std::uint32_t index) = 0;
  virtual std::span<const float> output(std::uint32_t slot) const = 0;
  /// Which kernel ran, if the library tells.
  virtual std::string kernel() const { return {}; }
};

std::unique_ptr<Side> make_our_side(const Weights& weights, mlx_native::Precision precision);

/// A shared object that exports mlxn_peer(); stays open for the life of the process.
class PeerLibrary {
 public:
  explicit PeerLibrary(const std::string& path);
  std::string description() const;
  /// Null where the library has no repacked form of such weights.
  std::unique_ptr<Side> make_side(const Weights& weights, bool repacked) const;

 private:
  const Peer* peer_;
};

}  // namespace bench
