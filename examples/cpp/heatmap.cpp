// Write the heat map of a photograph, from a file of `relcam compile --heatmap`, with onnxruntime alone:
//   heatmap explained.onnx photograph.ppm heat.pgm [target]
// The photograph is a binary PPM of the size that the model takes; the target a class, or a rank: -1, the default, is
// the top class. kMean and kStd are what the model takes, here those of models/efficientnet-lite0.onnx.
#include <onnxruntime_cxx_api.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <regex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace {

constexpr float kMean = 127, kStd = 128;

struct Picture {
  std::vector<float> planes;  // (3, height, width), normalised
  std::int64_t height, width;
};

Picture read(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw std::runtime_error(file + " cannot be read");
  const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
  const std::string start = bytes.substr(0, 100);
  static const std::regex form(R"(^P6\s+(\d{1,9})\s+(\d{1,9})\s+255\s)");
  std::smatch header;
  if (!std::regex_search(start, header, form)) throw std::runtime_error(file + " is no binary PPM of 8 bits");
  const std::size_t width = std::stoul(header[1]), height = std::stoul(header[2]), area = width * height;
  const std::size_t first = header[0].length();
  if ((bytes.size() - first) / 3 < area) throw std::runtime_error(file + " ends early");
  std::vector<float> planes(3 * area);
  for (std::size_t i = 0; i < planes.size(); ++i) {
    const auto value = static_cast<unsigned char>(bytes[first + 3 * (i % area) + i / area]);
    planes[i] = (value - kMean) / kStd;
  }
  return {std::move(planes), static_cast<std::int64_t>(height), static_cast<std::int64_t>(width)};
}

std::int64_t number(const std::string& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) throw std::runtime_error(text + " is no class or rank");
  return value;
}

void write(const std::string& file, const float* heat, std::int64_t height, std::int64_t width) {
  std::ofstream stream(file, std::ios::binary);
  stream << "P5\n" << width << ' ' << height << "\n255\n";
  for (std::int64_t i = 0; i < height * width; ++i) stream.put(static_cast<char>(std::lround(255 * heat[i])));
  if (!stream.flush()) throw std::runtime_error(file + " cannot be written");
}

void explain(const std::filesystem::path& model, Picture picture, std::int64_t target, const std::string& out) {
  const Ort::Env env;
  Ort::Session session(env, model.c_str(), Ort::SessionOptions{});
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeCPU);
  const std::array<std::int64_t, 4> shape{1, 3, picture.height, picture.width};
  const std::array<std::int64_t, 2> one{1, 1};
  const std::array<Ort::Value, 2> feeds{
      Ort::Value::CreateTensor(memory, picture.planes.data(), picture.planes.size(), shape.data(), shape.size()),
      Ort::Value::CreateTensor(memory, &target, 1, one.data(), one.size())};
  const auto input = session.GetInputNameAllocated(0, Ort::AllocatorWithDefaultOptions());
  const std::array<const char*, 2> inputs{input.get(), "relcam_targets"}, outputs{"heatmap/fused", "relcam_classes"};
  const auto answers =
      session.Run(Ort::RunOptions{}, inputs.data(), feeds.data(), feeds.size(), outputs.data(), outputs.size());
  const std::int64_t label = *answers[1].GetTensorData<std::int64_t>();
  if (label < 0) throw std::runtime_error("the model has no class or rank " + std::to_string(target));
  const auto sizes = answers[0].GetTensorTypeAndShapeInfo().GetShape();
  write(out, answers[0].GetTensorData<float>(), sizes[2], sizes[3]);
  std::cout << "class " << label << '\n';
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count != 4 && count != 5) {
      throw std::runtime_error("the arguments are explained.onnx photograph.ppm heat.pgm [target]");
    }
    explain(arguments[1], read(arguments[2]), count == 5 ? number(arguments[4]) : -1, arguments[3]);
  } catch (const std::exception& error) {
    std::cerr << "Error: " << error.what() << '\n';
    return 1;
  }
}
