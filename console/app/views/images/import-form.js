import { importArchive, importImage } from '../../api/v1.js';
import { h } from '../../kit/dom.js';
import { form } from '../../kit/form.js';
import { announce, field, pageHead } from '../../kit/parts.js';
import { go, href } from '../../kit/route.js';

/** An image to bring in: from a registry, or from an archive on the reader's machine. */
export function importForm() {
  const crumbs = /** @type {const} */ ([['Images', href(['images'])]]);
  return h(
    'div',
    null,
    pageHead('Import an image', { crumbs, about: 'What is known already is not downloaded again.' }),
    h('div', { class: 'columns' }, registryForm(), archiveForm()),
  );
}

/** @param {{ uuid: string }} operation */
function followImport({ uuid }) {
  announce('The import is queued.');
  go(href(['operations', uuid]));
}

const TEXT = { type: 'text', spellcheck: 'false', autocomplete: 'off' };

function registryForm() {
  const reference = h('input', { ...TEXT, placeholder: 'python:3.11-slim' });
  const tag = h('input', { ...TEXT, placeholder: 'common/python/python:3.11-slim' });
  const username = h('input', TEXT);
  const password = h('input', { type: 'password', autocomplete: 'off' });
  const where = 'A short name is one of Docker Hub; others are docker://registry/repository:tag.';
  const account = [
    field('User', username),
    field('Password or token', password, { hint: 'Used for this import, and not kept.' }),
  ];
  const fields = [
    h('h2', null, 'From a registry'),
    field('Reference', reference, { required: true, hint: where }),
    field('Tag', tag, { hint: 'A name to find it by.' }),
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
      hint: 'From docker save, an OCI layout, or a root filesystem as tar.',
    }),
    field('Tag', tag, { hint: 'A name to find it by.' }),
  ];
  const act = async () => {
    const [file] = archive.files ?? [];
    if (!file) throw new Error('Choose an archive first.');
    followImport(await importArchive(file, file.name, tag.value.trim() || undefined));
  };
  return form(fields, { submit: 'Import', act, class: 'panel' });
}
