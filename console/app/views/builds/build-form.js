import { startBuild, uploadFile } from '../../api/v1.js';
import { fill, h, icon } from '../../kit/dom.js';
import { form } from '../../kit/form.js';
import { bytes, counted } from '../../kit/format.js';
import { announce, button, checkbox, field, pageHead } from '../../kit/parts.js';
import { go, href } from '../../kit/route.js';
import { tarOf } from '../../kit/tar.js';
import { cut, shown } from '../../kit/text.js';
import { pairsOf } from '../../kit/values.js';
import { droppedFiles, pickedFiles } from './folder.js';

/** @import { PickedFile } from './folder.js' */

const TEXT = { type: 'text', spellcheck: 'false', autocomplete: 'off' };
const LINES = { spellcheck: 'false', class: 'mono' };
const DOCKERFILE = 'Dockerfile';
const EXAMPLE = 'FROM python:3.12-slim\nCOPY . /app\nRUN pip install -r /app/requirements.txt';

/** Shows the form that builds an image from a folder of the user's machine, or from a pasted Dockerfile. */
export function buildForm() {
  const dockerfile = h('textarea', { ...LINES, rows: 12, placeholder: EXAMPLE });
  const context = contextControls((text) => (dockerfile.value = text));
  const tag = h('input', { ...TEXT, placeholder: 'project/app' });
  const target = h('input', TEXT);
  const args = h('textarea', { ...LINES, rows: 3, placeholder: 'NAME=value' });
  const again = checkbox('Make every step again', false, { hint: 'instead of reusing those that did not change' });
  const progress = h('p', { class: 'muted', role: 'status' });
  const act = async () => {
    if (dockerfile.value.trim() === '') throw new Error('Drop a folder with a Dockerfile, or paste one.');
    const file = await context.send((text) => fill(progress, text)).finally(() => fill(progress));
    const { uuid } = await startBuild({
      dockerfile_text: dockerfile.value,
      ...(file !== undefined && { context: { file } }),
      ...(tag.value.trim() !== '' && { tag: tag.value.trim() }),
      ...(target.value.trim() !== '' && { target: target.value.trim() }),
      ...(args.value.trim() !== '' && { build_args: pairsOf(args.value) }),
      ...(again.box.checked && { no_cache: true }),
    });
    announce('Build queued.');
    go(href(['operations', uuid]));
  };
  const fields = [
    context.element,
    field('Dockerfile', dockerfile, { hint: 'Filled in from the folder. Press Ctrl+Enter to build.' }),
    h(
      'div',
      { class: 'field-row' },
      field('Tag', tag, { hint: 'A name for the image.' }),
      field('Stage', target, { hint: 'The last one by default.' }),
    ),
    h(
      'details',
      null,
      h('summary', null, 'More options'),
      field('Build arguments', args, { hint: 'One per line, for ARG instructions.' }),
      h('div', { class: 'checks-row' }, again.element),
    ),
    progress,
  ];
  const more = [h('a', { class: 'button plain', href: href(['images']) }, 'Cancel')];
  return h(
    'div',
    null,
    pageHead('Build an image', {
      crumbs: [['Images', href(['images'])]],
      about: 'Every instruction becomes an image. Steps that did not change are reused.',
    }),
    form(fields, { submit: 'Build', act, more, class: 'panel' }),
  );
}

/**
 * Returns the place where a folder is dropped or chosen.
 * @param {(text: string) => void} onDockerfile called with the Dockerfile of a folder
 */
function contextControls(onDockerfile) {
  /** @type {readonly PickedFile[]} */
  let files = [];
  const told = h('div', { class: 'drop-told', role: 'status' });
  const input = h('input', { type: 'file', webkitdirectory: true, multiple: true });
  const place = h(
    'div',
    { class: 'drop' },
    icon('folder'),
    field('Folder', input, {
      hint: 'Drop a folder here or choose one: the files that COPY and ADD read. All have mode 0644, because browsers do not tell which can be executed.',
    }),
    told,
  );
  const take = async (/** @type {readonly PickedFile[]} */ given) => {
    files = given;
    const size = files.reduce((sum, { file }) => sum + file.size, 0);
    const clear = () => {
      input.value = '';
      void take([]);
    };
    const found = files.find(({ path }) => path === DOCKERFILE);
    // Before the folder is told as read: what the user writes from then on stays.
    const text = await found?.file.text();
    if (files !== given) return;
    if (text !== undefined) onDockerfile(text);
    fill(
      told,
      files.length > 0 && [
        h('span', null, `${counted(files.length, 'file')}, ${bytes(size)}${found ? '' : ', without a Dockerfile'}`),
        button('Remove', clear, { kind: 'quiet' }),
      ],
    );
  };
  const failed = (/** @type {unknown} */ error) =>
    fill(told, shown(cut(error instanceof Error ? error.message : String(error), 400)));
  input.addEventListener('change', () => void take(pickedFiles(input.files ?? [])).catch(failed));
  const over = (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    place.classList.add('over');
  };
  const leave = () => place.classList.remove('over');
  place.addEventListener('dragover', over);
  place.addEventListener('dragleave', leave);
  place.addEventListener('drop', (event) => {
    event.preventDefault();
    leave();
    fill(told, 'Reading the folder…');
    void droppedFiles(event.dataTransfer).then(take).catch(failed);
  });
  /** @param {(text: string) => void} say */
  const send = async (say) => {
    if (files.length === 0) return undefined;
    say(`Sending ${counted(files.length, 'file')}…`);
    return await uploadFile(tarOf(files));
  };
  return { element: place, send };
}
