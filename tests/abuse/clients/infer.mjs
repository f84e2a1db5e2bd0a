// fetch of Node.js, which keeps its connections.
const [url] = process.argv.slice(2);
for (let round = 0; round < 5; round++) {
  const answers = await Promise.all(
    Array.from({ length: 20 }, async (_, number) => {
      const id = `node-${round}-${number}`;
      const inputs = [{ name: "x", shape: [1, 4], datatype: "FP32", data: [1, 2, 3, 4] }];
      const body = JSON.stringify({ id, inputs });
      const headers = { "content-type": "application/json" };
      const stream = new Blob([body]).stream();
      const options = number % 2 ? { body } : { body: stream, duplex: "half" };
      const answer = await fetch(url, { method: "POST", headers, ...options });
      const content = await answer.json();
      if (answer.status !== 200 || content.id !== id) throw new Error(`${answer.status} ${JSON.stringify(content)}`);
      return content;
    }),
  );
  if (answers.length !== 20) throw new Error("answers are missing");
}
console.log("100 answered");
