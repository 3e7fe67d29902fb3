import assert from 'node:assert/strict';
import { test } from 'node:test';
import { meansStop, type ClientLink } from '../../src/mcp/session.ts';

/** All ways in which a call can end before its operation, and whether the operation should end too. */
const ENDINGS: readonly (readonly [string, ClientLink['transport'], ClientLink['era'], unknown, boolean])[] = [
  ['the user pressed Esc', 'stdio', 'modern', 'User pressed Esc', true],
  ['the agent was aborted', 'stdio', 'legacy', 'aborted by the agent', true],
  ['a cancellation without a reason', 'stdio', 'legacy', undefined, true],
  ['the second SDK gave up waiting', 'stdio', 'modern', 'SdkError: Request timed out', false],
  ['the second SDK, older protocol', 'stdio', 'legacy', new Error('Request timed out'), false],
  ['the first SDK gave up waiting', 'stdio', 'legacy', 'McpError: MCP error -32001: Request timed out', false],
  ['another client gave up waiting', 'stdio', 'legacy', 'timeout of 60000 ms exceeded', false],
  ['yet another', 'stdio', 'legacy', 'client time-out', false],
  ['the Go SDK gave up waiting', 'stdio', 'legacy', 'context deadline exceeded', false],
  ['the Go SDK was cancelled', 'stdio', 'legacy', 'context canceled', true],
  ['Codex gave up waiting, or its user', 'stdio', 'legacy', 'MCP request cancelled by caller', false],
  ['the input ended', 'stdio', 'modern', new Error('Connection closed'), false],
  ['the input ended, older protocol', 'stdio', 'legacy', 'Connection closed', false],
  ['the stream was closed, which cancels', 'http', 'modern', 'anything', true],
  ['the connection dropped, which does not', 'http', 'legacy', 'anything', false],
];

test('what the end of a call means to its operation', () => {
  for (const [what, transport, era, reason, stops] of ENDINGS) {
    assert.equal(meansStop(reason, { transport, era }, 'stop'), stops, what);
  }
  assert.equal(meansStop('anything', { transport: 'http', era: 'modern' }, 'detach'), false, '--on-cancel detach');
  assert.equal(meansStop('User pressed Esc', { transport: 'stdio', era: 'modern' }, 'detach'), true, 'of HTTP only');
});
