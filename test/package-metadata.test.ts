import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { z } from 'zod';
import { bundleManifest } from '../scripts/support/package-metadata.ts';

const read = (path: string): unknown => JSON.parse(readFileSync(join(import.meta.dirname, '..', path), 'utf8'));
const { name, version, mcpName } = read('package.json') as Record<'name' | 'version' | 'mcpName', string>;

const Version = z.string().regex(/^\d+\.\d+\.\d+(?:-[\w.]+)?$/u, 'neither a range nor "latest"');
const Variable = z.strictObject({
  name: z.string().min(1),
  description: z.string().min(1),
  isRequired: z.boolean(),
  isSecret: z.boolean(),
});

/** The parts that we use of the schema 2025-12-11 of the MCP registry, with its own bounds. */
const RegistryEntry = z.strictObject({
  $schema: z.literal('https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json'),
  name: z
    .string()
    .min(3)
    .max(200)
    .regex(/^[a-zA-Z0-9.-]+\/[a-zA-Z0-9._-]+$/u),
  title: z.string().min(1).max(100),
  description: z.string().min(1).max(100),
  version: Version,
  packages: z
    .array(
      z.strictObject({
        registryType: z.literal('npm'),
        identifier: z.string().min(1),
        version: Version,
        runtimeHint: z.literal('npx'),
        transport: z.strictObject({ type: z.literal('stdio') }),
        environmentVariables: z.array(Variable),
      }),
    )
    .length(1),
});

test('server.json is what the MCP registry takes, and is about this very package', () => {
  const entry = RegistryEntry.parse(read('server.json'));
  assert.deepEqual([entry.name, entry.version], [mcpName, version]);
  const [published] = entry.packages;
  assert.deepEqual([published?.identifier, published?.version], [name, version]);
  const secret = published?.environmentVariables.filter(({ isSecret }) => isSecret).map((variable) => variable.name);
  assert.deepEqual(secret, ['CONTREE_MCP_TOKEN']);
});

test('the version stands in package.json alone', () => {
  assert.equal((JSON.parse(bundleManifest()) as { version: string }).version, version);
  assert.equal((read('package-lock.json') as { version: string }).version, version);
});
