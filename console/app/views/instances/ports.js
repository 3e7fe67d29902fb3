import { linkToPort, publishPort, unpublishPort } from '../../api/v1.js';
import { fill, h } from '../../kit/dom.js';
import { form } from '../../kit/form.js';
import { announce, button, field, panel } from '../../kit/parts.js';

/**
 * @import { InstanceDetails, PortInfo } from '../../../../src/contract/instance.ts'
 */

/**
 * Returns a link to the pages of a published port, which have an origin of their own. Following it signs the browser in
 * there; this page's token stays here.
 * @param {string} uuid of the instance
 * @param {PortInfo} port
 */
export function portLink(uuid, { port, host_port: hostPort, url }) {
  if (url === null || !isWeb(url)) {
    const text = `${port} at port ${hostPort}`;
    // A port of the machine of the engine, and so of this browser where the engine is local.
    const address = `http://127.0.0.1:${hostPort}/`;
    return isLocal()
      ? h('a', { href: address, target: '_blank', rel: 'noopener noreferrer' }, text)
      : h('code', null, text);
  }
  const follow = async () => {
    const link = await linkToPort(uuid, port);
    if (isWeb(link.url)) window.open(link.url, '_blank', 'noopener,noreferrer');
  };
  const onclick = (/** @type {MouseEvent} */ event) => {
    event.preventDefault();
    void follow().catch((/** @type {Error} */ error) => announce(error.message));
  };
  return h('a', { href: url, target: '_blank', rel: 'noopener noreferrer', onclick }, `:${port}`);
}

function isLocal() {
  return location.hostname === 'localhost' || location.hostname === '127.0.0.1';
}

/** @param {string} url */
function isWeb(url) {
  return /^https?:\/\//u.test(url);
}

/** Panel of the published ports of an instance, with a form that publishes another. */
export class Ports {
  #list = h('div');
  #uuid;
  #refresh;
  /** The list as it is drawn. */
  #drawn = '';

  /**
   * @param {string} uuid
   * @param {() => Promise<void>} refresh reads the instance again
   */
  constructor(uuid, refresh) {
    this.#uuid = uuid;
    this.#refresh = refresh;
    const port = h('input', { type: 'number', min: 1, max: 65_535 });
    const act = async () => {
      await publishPort(uuid, { port: port.valueAsNumber });
      port.value = '';
      await refresh();
    };
    this.element = panel('Ports', [
      this.#list,
      form([field('Port in the instance', port, { required: true })], { submit: 'Publish', act, class: 'inline-form' }),
    ]);
  }

  /** @param {InstanceDetails} instance */
  draw({ ports }) {
    const text = JSON.stringify(ports);
    if (text === this.#drawn) return;
    this.#drawn = text;
    fill(
      this.#list,
      ports.length === 0
        ? h('p', { class: 'muted' }, 'None is published.')
        : h(
            'ul',
            { class: 'plain-list' },
            ports.map((published) => h('li', null, portLink(this.#uuid, published), ' ', this.#remove(published))),
          ),
    );
  }

  /** @param {PortInfo} port */
  #remove({ port }) {
    const remove = async () => {
      await unpublishPort(this.#uuid, port);
      await this.#refresh();
    };
    return button(
      'Stop publishing',
      () => void remove().catch((/** @type {Error} */ error) => announce(error.message)),
      {
        kind: 'quiet',
        title: `Stop publishing port ${port}`,
      },
    );
  }
}
