// A custom runtime as AWS documents it: takes invocations from the Runtime API, one after the other, for ever.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const api = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime`;

const send = (path, body) =>
  fetch(`${api}/${path}`, { method: 'POST', body: JSON.stringify(body ?? null) });
const described = ({ name, message }) => ({ errorType: name, errorMessage: message });

const [file, name] = process.env._HANDLER.split('.');
let handler;
try {
  const bundle = await import(
    pathToFileURL(join(process.env.LAMBDA_TASK_ROOT, `${file}.mjs`)).href
  );
  handler = bundle[name];
} catch (error) {
  await send('init/error', described(error));
  throw error;
}

for (;;) {
  const next = await fetch(`${api}/invocation/next`);
  const id = next.headers.get('lambda-runtime-aws-request-id');
  const deadline = Number(next.headers.get('lambda-runtime-deadline-ms'));
  const context = { awsRequestId: id, getRemainingTimeInMillis: () => deadline - Date.now() };
  try {
    await send(`invocation/${id}/response`, await handler(await next.json(), context));
  } catch (error) {
    await send(`invocation/${id}/error`, described(error));
  }
}
