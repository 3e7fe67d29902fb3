import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isSecretContent, isSecretFolder, isSecretName } from '../../src/transfer/rules/secrets.ts';

test('names that are secret, and their harmless neighbours', () => {
  const secret = ['.env', 'a/.env.local', '.envrc', 'id_rsa', 'x/id_ed25519', 'cert.p12', '.git-credentials'];
  const more = ['.aws/credentials', 'home/.kube/config', '.pgpass', 'application_default_credentials.json'];
  for (const path of [...secret, ...more]) assert.ok(isSecretName(path), path);
  const harmless = [
    '.env.example',
    'env',
    'a.env.ts',
    'id_rsa.pub',
    'credentials',
    'kube/config',
    '.environment',
    'key.ts',
  ];
  for (const path of harmless) assert.ok(!isSecretName(path), path);
  assert.ok(isSecretFolder('.ssh') && isSecretFolder('home/.gnupg'));
  assert.ok(!isSecretFolder('ssh') && !isSecretFolder('.sshd'));
});

test('contents that are secret, and files of the same name that are not', () => {
  const is = (path: string, content: string): boolean => isSecretContent(path, Buffer.from(content));
  const secret: readonly (readonly [string, string])[] = [
    ['.npmrc', 'registry=x\n//r/:_authToken=abc'],
    ['.netrc', 'machine x login y password z'],
    ['.pypirc', '[pypi]\nusername = a\npassword = b'],
    ['pip.conf', 'index-url = https://user:token@host/simple'],
    ['.docker/config.json', '{"auths":{"x":{"auth":"YTpi"}}}'],
    ['any.txt', '-----BEGIN RSA PRIVATE KEY-----\n'],
    ['any', '\n\n-----BEGIN PGP PRIVATE KEY BLOCK-----\n'],
    ['sa.json', '{"type":"service_account","private_key": "-----BEGIN PRIVATE KEY-----\\n'],
    ['.git/config', '[remote]\n url = https://user:token@host/x.git'],
  ];
  for (const [path, content] of secret) assert.ok(is(path, content), path);
  const harmless: readonly (readonly [string, string])[] = [
    ['.npmrc', 'save-exact=true'],
    ['.netrc', ''],
    ['.docker/config.json', '{"auths":{"x":{}},"credsStore":"pass"}'],
    ['key.pub', '-----BEGIN PUBLIC KEY-----'],
    ['doc.md', 'A key begins with -----BEGIN PRIVATE KEY-----'],
    ['package.json', '{"private": true}'],
    ['.git/config', '[remote]\n url = git@host:x.git'],
  ];
  for (const [path, content] of harmless) assert.ok(!is(path, content), path);
});
