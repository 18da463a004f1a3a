// Reads a folder of `lmu-hf export --format web` by transformers.js and prints what its models say, as JSON.
//
//   node run.mjs MODULES FOLDER TEXT [STEPS]

import { createRequire } from "node:module";
import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, folder, text, steps] = process.argv.slice(2);
const entry = createRequire(resolve(modules, "from.js")).resolve("@huggingface/transformers");
const { AutoModel, AutoTokenizer, Tensor, TextClassificationPipeline, env } = await import(pathToFileURL(entry));

env.allowRemoteModels = false;
env.localModelPath = dirname(resolve(folder)) + "/";
const name = resolve(folder).split("/").pop();
const tokenizer = await AutoTokenizer.from_pretrained(name);
const said = { ids: tokenizer.encode(text) };

if (steps === undefined) {
  const model = await AutoModel.from_pretrained(name);
  said.logits = Array.from((await model(tokenizer(text))).logits.data);
  const classify = new TextClassificationPipeline({ task: "text-classification", model, tokenizer });
  said.labels = await classify(text);
} else {
  // A prompt is read in one call; then each token is one step, from the memories of the step before.
  const [prompt, step] = [
    await AutoModel.from_pretrained(name, { model_file_name: "prompt" }),
    await AutoModel.from_pretrained(name, { model_file_name: "step" }),
  ];
  let outputs = await prompt(tokenizer(text));
  said.tokens = [];
  for (let count = 0; count < Number(steps); count++) {
    const logits = Array.from(outputs.logits.data);
    const token = logits.indexOf(Math.max(...logits));
    said.tokens.push(token);
    const inputs = { input_ids: new Tensor("int64", [BigInt(token)], [1, 1]) };
    for (const [key, value] of Object.entries(outputs)) {
      if (key.startsWith("new_")) inputs[key.slice(4)] = value;
    }
    outputs = await step(inputs);
  }
  said.text = tokenizer.decode(said.tokens, { skip_special_tokens: true });
}
console.log("\n" + JSON.stringify(said));
