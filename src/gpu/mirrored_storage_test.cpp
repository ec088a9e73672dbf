// Host and device copies of a buffer, and what encoders, graphs and the host see of each other's writes.
#include "gpu/mirrored_storage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mlx_native/mlx_native.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <vector>

#include "runtime/access.h"
#include "support/backends.h"

#if MLXN_EMULATOR
#include "emulator/executor.h"
#endif
#if MLXN_CUDA
#include "cuda/launch.h"
#endif

namespace mlx_native {
namespace {

using testing::Each;
using testing::ElementsAre;

/// Counts its copies; the next one fails where `broken`.
class CountedStorage final : public gpu::MirroredStorage {
 public:
  using MirroredStorage::MirroredStorage;
  std::byte* device_address() override { return memory.data(); }

  std::vector<std::byte> memory = std::vector<std::byte>(size());
  int uploads = 0, downloads = 0;
  bool broken = false;

 protected:
  Result<void> upload(const std::byte* host, void*) override {
    if (broken) return error(ErrorKind::CommandBufferError, "no upload");
    ++uploads;
    std::ranges::copy_n(host, std::ptrdiff_t(size()), memory.begin());
    return {};
  }
  Result<void> download(std::byte* host) override {
    if (broken) return error(ErrorKind::CommandBufferError, "no download");
    ++downloads;
    std::ranges::copy(memory, host);
    return {};
  }
};

TEST(MirroredStorage, CopiesOnlyWhatIsOlder) {
  CountedStorage storage(nullptr, 4);
  ASSERT_TRUE(storage.before_use(false).has_value());
  EXPECT_EQ(storage.uploads, 0) << "both sides begin as zeros";
  std::byte* const host = storage.host(true).value();
  EXPECT_THAT(std::span(host, 4), Each(std::byte{0}));
  host[1] = std::byte{7};
  ASSERT_TRUE(storage.before_use(false).has_value());
  ASSERT_TRUE(storage.before_use(false).has_value());
  EXPECT_EQ(storage.uploads, 1);
  EXPECT_EQ(storage.memory[1], std::byte{7});
  ASSERT_TRUE(storage.host(false).has_value());
  EXPECT_EQ(storage.downloads, 0) << "only read by the device";

  ASSERT_TRUE(storage.before_use(true).has_value());
  storage.memory[2] = std::byte{9};
  ASSERT_TRUE(storage.host(false).has_value());
  ASSERT_TRUE(storage.host(true).has_value());
  EXPECT_EQ(storage.downloads, 1);
  EXPECT_THAT(std::span(host, 4), ElementsAre(std::byte{0}, std::byte{7}, std::byte{9}, std::byte{0}));
}

TEST(MirroredStorage, AFailedCopyIsReportedAndTriedAgain) {
  CountedStorage storage(nullptr, 4);
  storage.host(true).value()[0] = std::byte{5};
  storage.broken = true;
  EXPECT_EQ(storage.before_use(true).error().kind, ErrorKind::CommandBufferError);
  EXPECT_EQ(storage.host(false).value()[0], std::byte{5}) << "the device has written nothing";
  storage.broken = false;
  ASSERT_TRUE(storage.before_use(true).has_value());
  EXPECT_EQ(storage.memory[0], std::byte{5});
  storage.memory[0] = std::byte{6};
  storage.broken = true;
  EXPECT_EQ(storage.host(false).error().kind, ErrorKind::CommandBufferError);
  storage.broken = false;
  EXPECT_EQ(storage.host(false).value()[0], std::byte{6});
}

TEST(MirroredStorage, ImportedBytesAreTheHostsCopy) {
  auto owner = std::make_shared<std::vector<std::byte>>(4, std::byte{3});
  std::weak_ptr watch = owner;
  {
    CountedStorage storage(nullptr, std::span<const std::byte>(*owner), owner);
    EXPECT_FALSE(storage.writable());
    EXPECT_EQ(storage.host(false).value(), owner->data());
    owner.reset();
    EXPECT_FALSE(watch.expired());
  }
  EXPECT_TRUE(watch.expired());
}

class Coherence : public testing::TestWithParam<Backend> {
 protected:
  /// Large enough that a device is still at work when the host goes on.
  static constexpr std::size_t kMany = 100000;

  MlxDevice device = MlxDevice::create(GetParam()).value();
  KernelRegistry registry;

  CommandEncoder encoder() const { return device.command_encoder().value(); }
  MlxBuffer floats(float value, std::size_t n = kMany) const {
    MlxBuffer buffer = device.alloc_buffer(n * sizeof(float), DType::F32, {n}).value();
    fill(buffer, value);
    return buffer;
  }
  static void fill(MlxBuffer& buffer, float value) { std::ranges::fill(buffer.as_mut_slice<float>().value(), value); }
  static std::span<const float> read(const MlxBuffer& buffer) { return buffer.as_slice<float>().value(); }
  /// to = from, by the device.
  void copy(CommandEncoder& on, const MlxBuffer& from, MlxBuffer to) const {
    const auto recorded =
        dequantize_ggml(on, registry, device, from, to, {.n_values = to.element_count(), .ggml_type = GgmlType::F32});
    ASSERT_TRUE(recorded.has_value()) << recorded.error().message;
  }
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Coherence);
MLXN_ON_BACKENDS(Coherence);

TEST_P(Coherence, AnEncoderReadsWhatAnotherCommittedBefore) {
  const MlxBuffer a = floats(3), b = floats(0), c = floats(0);
  CommandEncoder first = encoder(), second = encoder();
  copy(second, b, c);
  copy(first, a, b);
  ASSERT_TRUE(first.commit().has_value());
  ASSERT_TRUE(second.commit().has_value()) << "recorded first, but committed second";
  ASSERT_TRUE(second.wait().has_value());
  EXPECT_THAT(read(c), Each(3.0f));
  ASSERT_TRUE(first.wait().has_value());
}

TEST_P(Coherence, AnEncoderOverwritesWhatAnotherReadsBefore) {
  const MlxBuffer a = floats(3), b = floats(0), news = floats(4);
  CommandEncoder first = encoder(), second = encoder();
  copy(first, a, b);
  copy(second, news, a);
  ASSERT_TRUE(first.commit().has_value());
  ASSERT_TRUE(second.commit().has_value());
  EXPECT_THAT(read(b), Each(3.0f));
  EXPECT_THAT(read(a), Each(4.0f));
  ASSERT_TRUE(first.wait().has_value());
  ASSERT_TRUE(second.wait().has_value());
}

TEST_P(Coherence, EncodersHandABufferToAndFro) {
  const MlxBuffer a = floats(1), b = floats(0);
  CommandEncoder first = encoder(), second = encoder();
  for (int round = 2; round < 8; ++round) {
    copy(first, a, b);
    ASSERT_TRUE(first.commit().has_value());
    if (round % 2 == 0) {
      ASSERT_TRUE(first.wait().has_value());
    }
    MlxBuffer seen = b;
    ASSERT_THAT(read(seen), Each(float(round - 1))) << "after a wait, and without one";
    fill(seen, float(round));
    copy(second, b, a);
    ASSERT_TRUE(second.commit().has_value());
  }
  ASSERT_TRUE(second.wait().has_value());
  EXPECT_THAT(read(a), Each(7.0f));
}

TEST_P(Coherence, HostWritesBetweenCommitsReachTheNextAlone) {
  MlxBuffer a = floats(1);
  const MlxBuffer b = floats(0), c = floats(0);
  CommandEncoder commands = encoder();
  copy(commands, a, b);
  ASSERT_TRUE(commands.commit().has_value());
  fill(a, 2);
  copy(commands, a, c);
  ASSERT_TRUE(commands.commit_and_wait().has_value());
  EXPECT_THAT(read(b), Each(1.0f));
  EXPECT_THAT(read(c), Each(2.0f));
}

TEST_P(Coherence, AHostWriteKeepsTheBytesAroundIt) {
  const MlxBuffer a = floats(5), b = floats(0), c = floats(0);
  CommandEncoder commands = encoder();
  copy(commands, a, b);
  ASSERT_TRUE(commands.commit().has_value());
  MlxBuffer middle = b.slice_view(40, 1).value();
  middle.as_mut_slice<float>().value()[0] = 6;
  copy(commands, b, c);
  ASSERT_TRUE(commands.commit_and_wait().has_value());
  std::vector<float> want(kMany, 5);
  want[10] = 6;
  EXPECT_TRUE(std::ranges::equal(read(c), want));
}

TEST_P(Coherence, GraphsReplayOnWhatHostAndEncodersWrote) {
  MlxBuffer in = floats(1);
  const MlxBuffer out = floats(0), last = floats(0), source = floats(8);
  GraphSession session = GraphExecutor(device).begin().value();
  copy(session.encoder(), in, out);
  ComputeGraph graph = session.record().value();
  EXPECT_THAT(read(out), Each(0.0f)) << "recorded, not run";
  for (const float value : {1.0f, 2.0f, 3.0f}) {
    fill(in, value);
    ASSERT_TRUE(graph.replay().has_value());
    ASSERT_THAT(read(out), Each(value));
  }
  CommandEncoder commands = encoder();
  copy(commands, source, in);
  ASSERT_TRUE(commands.commit().has_value());
  ASSERT_TRUE(graph.replay().has_value());
  copy(commands, out, last);
  ASSERT_TRUE(commands.commit_and_wait().has_value());
  EXPECT_THAT(read(last), Each(8.0f));
}

TEST_P(Coherence, ImportedMemoryLivesUntilItsLastUse) {
  auto owner = std::make_shared<std::vector<float>>(kMany, 2.0f);
  const std::weak_ptr watch = owner;
  std::optional<MlxBuffer> weights =
      device.import_host(std::as_bytes(std::span(*owner)), owner, DType::F32, {kMany}).value();
  owner.reset();
  const MlxBuffer out = floats(0), again = floats(0);
  CommandEncoder commands = encoder();
  copy(commands, *weights, out);
  std::optional<ComputeGraph> graph;
  {
    GraphSession session = GraphExecutor(device).begin().value();
    copy(session.encoder(), *weights, again);
    graph = session.record().value();
  }
  weights.reset();
  EXPECT_FALSE(watch.expired());
  ASSERT_TRUE(commands.commit_and_wait().has_value());
  EXPECT_THAT(read(out), Each(2.0f));
  EXPECT_FALSE(watch.expired()) << "the graph will use it";
  ASSERT_TRUE(graph->replay().has_value());
  EXPECT_THAT(read(again), Each(2.0f));
  graph.reset();
  EXPECT_TRUE(watch.expired()) << "no handle, no command, no graph";
}

TEST_P(Coherence, AFaultOfDataPoisonsItsEncoderAlone) {
  const MlxBuffer bad = floats(std::numeric_limits<float>::quiet_NaN(), 64), good = floats(1, 64);
  MlxBuffer index = device.alloc_buffer(4, DType::U32, {1}).value(),
            other = device.alloc_buffer(4, DType::U32, {1}).value();
  CommandEncoder faulty = encoder(), healthy = encoder();
  ASSERT_TRUE(argmax(faulty, registry, device, bad, index, {.rows = 1, .cols = 64}).has_value());
  ASSERT_TRUE(argmax(healthy, registry, device, good, other, {.rows = 1, .cols = 64}).has_value());
  ASSERT_TRUE(faulty.commit().has_value()) << "a fault of the data comes at the wait";
  ASSERT_TRUE(healthy.commit_and_wait().has_value());
  EXPECT_EQ(faulty.wait().error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(faulty.commit().error().kind, ErrorKind::InvalidArgument) << "poisoned";
  EXPECT_TRUE(healthy.commit_and_wait().has_value());
}

#if MLXN_EMULATOR
struct Diverging {
  struct Args {};
  static constexpr int kThreads = 64, kScratchBytes = 0;
  static void run(emulator::Thread t, const Args&, float*) {
    if (t.simdgroup() == 0) t.barrier();
  }
};
#endif

/// A kernel that breaks on a GPU backend: on the emulator half of the threads miss a barrier, on CUDA the launch fails.
std::shared_ptr<const detail::Kernel> broken_kernel([[maybe_unused]] Backend backend) {
  auto kernel = std::make_shared<detail::Kernel>();
  kernel->name = "test.broken";
  kernel->backend = backend;
  kernel->op = detail::Op::User;
#if MLXN_EMULATOR
  if (backend == Backend::Emulator)
    kernel->entry = [](const void*, void* launch) { static_cast<emulator::Launch*>(launch)->run<Diverging>(1, {}); };
#endif
#if MLXN_CUDA
  if (backend == Backend::Cuda)
    kernel->entry = [](const void*, void* launch) {
      static_cast<cuda::Launch*>(launch)->status = cudaErrorInvalidConfiguration;
    };
#endif
  return kernel;
}

class GpuFaults : public Coherence {
 protected:
  static Result<void> add_broken(CommandEncoder& on, const MlxBuffer& written) {
    return detail::EncoderAccess::commands(on).add(broken_kernel(GetParam()), {},
                                                   {detail::BufferAccess::use(written, true)});
  }
};
MLXN_ON_GPUS(GpuFaults);

TEST_P(GpuFaults, ComeAtTheWaitAndPoisonTheirEncoderAlone) {
  MlxBuffer a = floats(3);
  const MlxBuffer b = floats(0), c = floats(0);
  CommandEncoder faulty = encoder(), healthy = encoder();
  copy(faulty, a, b);
  ASSERT_TRUE(add_broken(faulty, b).has_value());
  copy(healthy, a, c);
  ASSERT_TRUE(faulty.commit().has_value()) << "what goes wrong on the device comes at the wait";
  ASSERT_TRUE(healthy.commit_and_wait().has_value());
  const auto waited = faulty.wait();
  ASSERT_FALSE(waited.has_value());
  EXPECT_EQ(waited.error().kind, ErrorKind::CommandBufferError);
  EXPECT_TRUE(waited.error().is_transient());
  EXPECT_THAT(waited.error().message, testing::HasSubstr("test.broken"));
  EXPECT_EQ(faulty.wait().error().message, waited.error().message) << "poisoned";
  EXPECT_EQ(faulty.commit().error().message, waited.error().message);
  EXPECT_EQ(add_broken(faulty, b).error().message, waited.error().message);
  EXPECT_THAT(read(b), Each(3.0f)) << "what ran before the fault has run";
  EXPECT_THAT(read(c), Each(3.0f));
  fill(a, 4);
  copy(healthy, a, b);
  ASSERT_TRUE(healthy.commit_and_wait().has_value()) << "also where the faulty one was to write";
  EXPECT_THAT(read(b), Each(4.0f));
}

TEST_P(GpuFaults, OfAGraphAreItsOwn) {
  const MlxBuffer a = floats(3), b = floats(0), c = floats(0);
  GraphExecutor executor(device);
  GraphSession faulty = executor.begin().value(), healthy = executor.begin().value();
  ASSERT_TRUE(add_broken(faulty.encoder(), b).has_value());
  copy(healthy.encoder(), a, c);
  ComputeGraph graph = healthy.record().value();
  // A backend may find out when it prepares the graph, or when it runs it.
  const auto failed = faulty.record().and_then([](ComputeGraph broken) { return broken.replay(); });
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().kind, ErrorKind::CommandBufferError);
  ASSERT_TRUE(graph.replay().has_value());
  EXPECT_THAT(read(c), Each(3.0f));
}

}  // namespace
}  // namespace mlx_native
