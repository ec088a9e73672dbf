#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "files/safetensors_header.h"

namespace mlx_native {

/// Takes the events of a JSON parser and allows exactly the grammar of a safetensors header, so that nothing else is
/// ever held in memory: depth, unknown or repeated fields and numbers that are not unsigned 64-bit integers end the
/// parse at once. Names may still repeat, and what the numbers mean is checked later.
class SafetensorsJson {
 public:
  struct Tensor {
    std::string name;
    std::optional<std::string> dtype;
    std::optional<std::vector<std::uint64_t>> shape, data_offsets;
  };

  std::vector<SafetensorsHeader::Entry> metadata;
  std::vector<Tensor> tensors;
  std::string failure;  ///< why the parse ended early

  // What nlohmann::json::sax_parse calls; false ends the parse.
  bool null() { return refuse("null"); }
  bool boolean(bool) { return refuse("a boolean"); }
  bool number_integer(std::int64_t value) { return refuse(std::to_string(value)); }
  bool number_unsigned(std::uint64_t value);
  bool number_float(double, const std::string& text) { return refuse(text); }
  bool string(std::string& text);
  bool binary(std::vector<std::uint8_t>&) { return refuse("binary data"); }
  bool start_object(std::size_t);
  bool key(std::string& name);
  bool end_object();
  bool start_array(std::size_t);
  bool end_array();
  bool parse_error(std::size_t position, const std::string& token, const nlohmann::json::exception& why);

 private:
  enum class Place { Start, File, Metadata, Tensor, Numbers };
  bool fail(std::string why);
  bool refuse(std::string_view what);  ///< `what` cannot stand at this place
  std::string here() const;

  Place place_ = Place::Start;
  std::string key_;  // the latest one
  bool metadata_seen_ = false;
  std::vector<std::uint64_t>* numbers_ = nullptr;  // the array that is being read
};

}  // namespace mlx_native
