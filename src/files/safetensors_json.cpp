#include "files/safetensors_json.h"

#include <fmt/format.h>

#include <utility>

#include "files/limits.h"
#include "files/text.h"

namespace mlx_native {

bool SafetensorsJson::fail(std::string why) {
  failure = std::move(why);
  return false;
}

std::string SafetensorsJson::here() const {
  switch (place_) {
    case Place::Start: return "the header";
    case Place::File: return fmt::format("value of {}", shown(key_));
    case Place::Metadata: return fmt::format("__metadata__ {}", shown(key_));
    case Place::Tensor:
    case Place::Numbers: return fmt::format("tensor {}, {}", shown(tensors.back().name), shown(key_));
  }
  return "";
}

bool SafetensorsJson::refuse(std::string_view what) {
  return fail(fmt::format("{}: {} cannot stand here", here(), what.substr(0, 40)));
}

bool SafetensorsJson::number_unsigned(std::uint64_t value) {
  if (place_ != Place::Numbers) return refuse(std::to_string(value));
  if (numbers_->size() == limits::kMaxSafetensorsRank)
    return fail(fmt::format("{}: more than {} numbers", here(), limits::kMaxSafetensorsRank));
  numbers_->push_back(value);
  return true;
}

bool SafetensorsJson::string(std::string& text) {
  if (place_ == Place::Metadata) {
    metadata.push_back({key_, std::move(text)});
    return true;
  }
  if (place_ != Place::Tensor || key_ != "dtype") return refuse("a string");
  tensors.back().dtype = std::move(text);
  return true;
}

bool SafetensorsJson::start_object(std::size_t) {
  if (place_ == Place::Start) {
    place_ = Place::File;
  } else if (place_ != Place::File) {
    return refuse("an object");
  } else if (key_ != "__metadata__") {
    place_ = Place::Tensor;
    tensors.push_back({key_, {}, {}, {}});
  } else {
    if (std::exchange(metadata_seen_, true)) return fail("__metadata__ appears twice");
    place_ = Place::Metadata;
  }
  return true;
}

bool SafetensorsJson::key(std::string& name) {
  key_ = std::move(name);
  if (place_ != Place::Tensor) {
    if (is_name(key_) && key_.size() <= limits::kMaxKey) return true;
    return fail(fmt::format("{} of {} bytes is not a name: empty, too long or with control characters", shown(key_),
                            key_.size()));
  }
  const auto& tensor = tensors.back();
  const bool dtype = key_ == "dtype", shape = key_ == "shape", offsets = key_ == "data_offsets";
  if (!dtype && !shape && !offsets) return fail(fmt::format("{}: an unknown field", here()));
  if ((dtype && tensor.dtype) || (shape && tensor.shape) || (offsets && tensor.data_offsets))
    return fail(fmt::format("{}: appears twice", here()));
  return true;
}

bool SafetensorsJson::end_object() {
  place_ = Place::File;
  return true;
}

bool SafetensorsJson::start_array(std::size_t) {
  if (place_ != Place::Tensor || key_ == "dtype") return refuse("an array");
  auto& tensor = tensors.back();
  numbers_ = &(key_ == "shape" ? tensor.shape : tensor.data_offsets).emplace();
  place_ = Place::Numbers;
  return true;
}

bool SafetensorsJson::end_array() {
  place_ = Place::Tensor;
  return true;
}

bool SafetensorsJson::parse_error(std::size_t position, const std::string& token, const nlohmann::json::exception&) {
  return fail(fmt::format("byte {} of the JSON header: {} is unexpected", position, shown(token)));
}

}  // namespace mlx_native
