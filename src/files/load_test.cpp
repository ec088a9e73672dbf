// Tensors of files as buffers of a device.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <vector>

#include "mlx_native/device.h"
#include "mlx_native/gguf.h"
#include "mlx_native/quantize.h"
#include "mlx_native/safetensors.h"
#include "support/temp_dir.h"

namespace mlx_native {
namespace {

using test::TempDir;
using test::write_file;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Bytes = std::vector<std::uint8_t>;

template <class T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

class Load : public testing::Test {
 protected:
  /// Two rows of F32, four I16, one block of Q4_K.
  GgufFile write(std::uint32_t alignment) {
    auto writer = GgufWriter::create(dir / "m.gguf").value();
    EXPECT_TRUE(writer.add_metadata("general.alignment", {MetadataValue::Scalar(alignment)}).has_value());
    EXPECT_TRUE(writer.add_tensor("i16", {3}, GgmlType::I16).has_value());
    EXPECT_TRUE(writer.add_tensor("f32", {2, 2}, GgmlType::F32).has_value());
    EXPECT_TRUE(writer.add_tensor("q4_K", {1, 256}, GgmlType::Q4_K).has_value());
    EXPECT_TRUE(writer.add_tensor("iq2_xs", {256}, GgmlType(17)).has_value());
    EXPECT_TRUE(writer.write(bytes_of(std::vector<std::int16_t>{-1, 2, -3})).has_value());
    EXPECT_TRUE(writer.write(bytes_of(std::vector<float>{1, 2, 3, 4})).has_value());
    for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<std::uint8_t>(i * 7 % 64);
    EXPECT_TRUE(writer.write(block).has_value());
    EXPECT_TRUE(writer.write(Bytes(74)).has_value());
    EXPECT_TRUE(writer.finish().has_value());
    return GgufFile::open(dir / "m.gguf").value();
  }

  const TempDir dir;
  const MlxDevice device = MlxDevice::create(Backend::Cpu).value();
  Bytes block = Bytes(144);
};

TEST_F(Load, SharesTheMappingAndOutlivesTheFile) {
  std::optional<GgufFile> file = write(32);
  const MlxBuffer f32 = file->load_tensor("f32", device).value();
  EXPECT_EQ(f32.dtype(), DType::F32);
  EXPECT_EQ(f32.shape(), (Shape{2, 2}));
  EXPECT_FALSE(f32.is_writable());
  EXPECT_EQ(static_cast<const void*>(f32.as_slice<float>().value().data()), file->tensor_bytes("f32").value().data());
  const MlxBuffer blocks = file->load_tensor("q4_K", device).value();
  EXPECT_EQ(blocks.dtype(), DType::U8);
  EXPECT_EQ(blocks.shape(), (Shape{144}));
  const MlxBuffer integers = file->load_tensor("i16", device).value();
  EXPECT_EQ(integers.dtype(), DType::I16);
  file.reset();
  std::filesystem::remove(dir / "m.gguf");
  EXPECT_THAT(f32.as_slice<float>().value(), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(blocks.as_slice<std::uint8_t>().value(), testing::ElementsAreArray(block));
  EXPECT_THAT(integers.as_slice<std::int16_t>().value(), ElementsAre(-1, 2, -3));
}

TEST_F(Load, CopiesWhatLiesAtAnOddPlace) {
  const GgufFile file = write(1);
  const auto bytes = file.tensor_bytes("f32").value();
  const MlxBuffer f32 = file.load_tensor("f32", device).value();
  EXPECT_NE(static_cast<const void*>(f32.as_slice<float>().value().data()), bytes.data());
  EXPECT_THAT(f32.as_slice<float>().value(), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(file.load_tensor("q4_K", device).value().as_slice<std::uint8_t>().value(),
              testing::ElementsAreArray(block));
}

TEST_F(Load, DecodesToF32) {
  for (const std::uint32_t alignment : {1u, 32u}) {
    const GgufFile file = write(alignment);
    EXPECT_THAT(file.load_tensor_f32("f32", device).value().as_slice<float>().value(), ElementsAre(1, 2, 3, 4));
    const MlxBuffer decoded = file.load_tensor_f32("q4_K", device).value();
    EXPECT_EQ(decoded.dtype(), DType::F32);
    EXPECT_EQ(decoded.shape(), (Shape{1, 256}));
    EXPECT_THAT(decoded.as_slice<float>().value(),
                testing::ElementsAreArray(dequantize(GgmlType::Q4_K, block).value()));
  }
}

TEST_F(Load, NamesWhatItCannotLoad) {
  const GgufFile file = write(32);
  EXPECT_EQ(file.load_tensor("absent", device).error().kind, ErrorKind::InvalidArgument);
  EXPECT_EQ(file.load_tensor_f32("absent", device).error().kind, ErrorKind::InvalidArgument);
  EXPECT_TRUE(file.load_tensor("iq2_xs", device).has_value()) << "known bytes can be had";
  const auto undecoded = file.load_tensor_f32("iq2_xs", device);
  ASSERT_FALSE(undecoded.has_value());
  EXPECT_EQ(undecoded.error().kind, ErrorKind::UnsupportedDtype);
  EXPECT_THAT(undecoded.error().message, HasSubstr("\"iq2_xs\""));
}

TEST_F(Load, SafetensorsSharesOrCopies) {
  for (const std::size_t pad : {0, 1}) {
    std::string header =
        R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"e":{"dtype":"U8","shape":[0],"data_offsets":[8,8]},)"
        R"("f":{"dtype":"F8_E4M3","shape":[],"data_offsets":[8,9]}})";
    header.resize((header.size() + 8 + 15) / 16 * 16 - 8 + pad, ' ');
    Bytes bytes(8);
    const std::uint64_t length = header.size();
    std::memcpy(bytes.data(), &length, 8);
    bytes.insert(bytes.end(), header.begin(), header.end());
    const auto data = bytes_of(std::vector<float>{5, 6});
    bytes.insert(bytes.end(), data.begin(), data.end());
    bytes.push_back(1);
    write_file(dir / "m.safetensors", bytes);
    std::optional<SafetensorsFile> file = SafetensorsFile::open(dir / "m.safetensors").value();
    const MlxBuffer a = file->load_tensor("a", device).value();
    EXPECT_EQ(a.is_writable(), pad != 0);
    EXPECT_EQ(file->load_tensor("e", device).error().kind, ErrorKind::InvalidArgument);
    EXPECT_EQ(file->load_tensor("f", device).error().kind, ErrorKind::UnsupportedDtype);
    EXPECT_EQ(file->load_tensor("absent", device).error().kind, ErrorKind::InvalidArgument);
    file.reset();
    EXPECT_EQ(a.shape(), (Shape{2}));
    EXPECT_THAT(a.as_slice<float>().value(), ElementsAre(5, 6));
  }
}

}  // namespace
}  // namespace mlx_native
