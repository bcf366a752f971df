// Write the heat map of a photograph, from a file of `relcam compile --heatmap`, with Microsoft.ML.OnnxRuntime alone:
//   Heatmap explained.onnx photograph.ppm heat.pgm [target]
// The photograph is a binary PPM of the size that the model takes; the target a class, or a rank: -1, the default, is
// the top class. Mean and Std are what the model takes, here those of models/efficientnet-lite0.onnx.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.ML.OnnxRuntime;

static class Heatmap
{
    const float Mean = 127, Std = 128;

    static OrtValue Read(string file)
    {
        byte[] bytes = File.ReadAllBytes(file);
        string start = Encoding.ASCII.GetString(bytes, 0, Math.Min(bytes.Length, 100));
        Match header = Regex.Match(start, @"^P6\s+(\d{1,9})\s+(\d{1,9})\s+255\s");
        if (!header.Success) throw new InvalidDataException(file + " is no binary PPM of 8 bits");
        long width = Number(header.Groups[1].Value), height = Number(header.Groups[2].Value), area = width * height;
        if ((bytes.Length - header.Length) / 3 < area) throw new InvalidDataException(file + " ends early");
        var planes = new float[3 * area];
        for (long i = 0; i < planes.Length; i++)
        {
            planes[i] = (bytes[header.Length + 3 * (i % area) + i / area] - Mean) / Std;
        }
        return OrtValue.CreateTensorValueFromMemory(planes, new long[] { 1, 3, height, width });
    }

    static long Number(string text)
    {
        if (!Regex.IsMatch(text, @"^-?[0-9]{1,18}\z")) throw new FormatException(text + " is no class or rank");
        return long.Parse(text, CultureInfo.InvariantCulture);
    }

    static void Write(string file, OrtValue heat)
    {
        long[] shape = heat.GetTensorTypeAndShape().Shape;
        ReadOnlySpan<float> values = heat.GetTensorDataAsSpan<float>();
        using (var stream = new BufferedStream(File.Create(file)))
        {
            byte[] header = Encoding.ASCII.GetBytes($"P5\n{shape[3]} {shape[2]}\n255\n");
            stream.Write(header, 0, header.Length);
            foreach (float value in values) stream.WriteByte((byte)Math.Round(255 * value));
        }
    }

    static void Explain(string model, string photograph, string file, long target)
    {
        using (OrtValue picture = Read(photograph))
        using (OrtValue targets = OrtValue.CreateTensorValueFromMemory(new[] { target }, new long[] { 1, 1 }))
        using (var session = new InferenceSession(model))
        using (var options = new RunOptions())
        {
            string input = session.InputNames[0];
            var feeds = new Dictionary<string, OrtValue> { [input] = picture, ["relcam_targets"] = targets };
            using (var answers = session.Run(options, feeds, new[] { "heatmap/fused", "relcam_classes" }))
            {
                long label = answers[1].GetTensorDataAsSpan<long>()[0];
                if (label < 0) throw new ArgumentException("the model has no class or rank " + target);
                Write(file, answers[0]);
                Console.WriteLine("class " + label);
            }
        }
    }

    static int Main(string[] arguments)
    {
        try
        {
            if (arguments.Length < 3 || arguments.Length > 4)
            {
                throw new ArgumentException("the arguments are explained.onnx photograph.ppm heat.pgm [target]");
            }
            Explain(arguments[0], arguments[1], arguments[2], arguments.Length == 4 ? Number(arguments[3]) : -1);
            return 0;
        }
        catch (Exception error)
        {
            Console.Error.WriteLine("Error: " + error.Message);
            return 1;
        }
    }
}
