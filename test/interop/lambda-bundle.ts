import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** A folder as Lambda's: the bundles in `task`, and the AWS SDK where the runtime finds it. */
export interface TaskFolder {
  readonly taskRoot: string;
  remove(): Promise<void>;
}

/**
 * Builds the bundles as `npm run build:lambda` does. Lambda's runtime finds its own AWS SDK through NODE_PATH, which
 * plain Node.js does not heed for ES modules: here the SDK is in a `node_modules` above.
 */
export async function buildTaskFolder(): Promise<TaskFolder> {
  const folder = await mkdtemp(join(tmpdir(), 'lambda-'));
  const taskRoot = join(folder, 'task');
  await promisify(execFile)(process.execPath, [join(root, 'build/bundle-lambda.mjs'), taskRoot]);
  await mkdir(join(folder, 'node_modules'));
  await symlink(join(root, 'node_modules/@aws-sdk'), join(folder, 'node_modules/@aws-sdk'));
  return { taskRoot, remove: () => rm(folder, { recursive: true, force: true }) };
}
