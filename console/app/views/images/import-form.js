import { importArchive, importImage } from '../../api/v1.js';
import { h } from '../../kit/dom.js';
import { form } from '../../kit/form.js';
import { announce, field, pageHead } from '../../kit/parts.js';
import { go, href } from '../../kit/route.js';

/** Shows the forms that import an image from a registry or from an archive on the user's machine. */
export function importForm() {
  const crumbs = /** @type {const} */ ([['Images', href(['images'])]]);
  return h(
    'div',
    null,
    pageHead('Import an image', { crumbs, about: 'Layers that are already in the store are not downloaded again.' }),
    h('div', { class: 'columns' }, registryForm(), archiveForm()),
  );
}

/** @param {{ uuid: string }} operation */
function followImport({ uuid }) {
  announce('Import queued.');
  go(href(['operations', uuid]));
}

const TEXT = { type: 'text', spellcheck: 'false', autocomplete: 'off' };

function registryForm() {
  const reference = h('input', { ...TEXT, placeholder: 'python:3.11-slim' });
  const tag = h('input', { ...TEXT, placeholder: 'common/python/python:3.11-slim' });
  const username = h('input', TEXT);
  const password = h('input', { type: 'password', autocomplete: 'off' });
  const where = 'A short name refers to Docker Hub; other references have the form docker://registry/repository:tag.';
  const account = [
    field('User', username),
    field('Password or token', password, { hint: 'Used for this import only; it is not stored.' }),
  ];
  const fields = [
    h('h2', null, 'From a registry'),
    field('Reference', reference, { required: true, hint: where }),
    field('Tag', tag, { hint: 'A name for the image.' }),
    h('details', null, h('summary', null, 'Private registry'), account),
  ];
  const act = async () => {
    const credentials = { username: username.value, password: password.value };
    const registry = { url: reference.value.trim(), ...(username.value !== '' && { credentials }) };
    followImport(await importImage({ registry, ...(tag.value !== '' && { tag: tag.value.trim() }) }));
  };
  return form(fields, { submit: 'Import', act, class: 'panel' });
}

function archiveForm() {
  const archive = h('input', { type: 'file', accept: '.tar,.gz,.tgz,.zst,.xz' });
  const tag = h('input', { ...TEXT, placeholder: 'common/base' });
  const fields = [
    h('h2', null, 'From an archive'),
    field('Archive', archive, {
      required: true,
      hint: 'A docker save archive, an OCI layout or a tar of a root file system.',
    }),
    field('Tag', tag, { hint: 'A name for the image.' }),
  ];
  const act = async () => {
    const [file] = archive.files ?? [];
    if (!file) throw new Error('Select an archive first.');
    followImport(await importArchive(file, file.name, tag.value.trim() || undefined));
  };
  return form(fields, { submit: 'Import', act, class: 'panel' });
}
