import { publishPort, unpublishPort } from '../../api/v1.js';
import { fill, h } from '../../kit/dom.js';
import { form } from '../../kit/form.js';
import { button, field, panel } from '../../kit/parts.js';

/**
 * @import { Scope } from '../../kit/scope.js'
 * @import { InstanceDetails, PortInfo } from '../../../../src/contract/instance.ts'
 */

/**
 * Returns a link to a published port. Its page has an origin of its own, and learns nothing of this one.
 * @param {PortInfo} port
 */
export function portLink({ port, host_port: hostPort, url }) {
  return url !== null && /^https?:\/\//u.test(url)
    ? h('a', { href: url, target: '_blank', rel: 'noopener noreferrer' }, `:${port}`)
    : h('code', null, `${port} at port ${hostPort}`);
}

/** Panel of the published ports of an instance, with a form that publishes another. */
export class Ports {
  #list = h('div');
  #uuid;
  #scope;
  /** The list as it is drawn. */
  #drawn = '';

  /**
   * @param {string} uuid
   * @param {Scope} scope
   */
  constructor(uuid, scope) {
    this.#uuid = uuid;
    this.#scope = scope;
    const port = h('input', { type: 'number', min: 1, max: 65_535 });
    const act = async () => {
      await publishPort(uuid, { port: port.valueAsNumber });
      scope.reload();
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
            ports.map((published) => h('li', null, portLink(published), ' ', this.#remove(published))),
          ),
    );
  }

  /** @param {PortInfo} port */
  #remove({ port }) {
    const remove = async () => {
      await unpublishPort(this.#uuid, port);
      this.#scope.reload();
    };
    return button('Stop publishing', () => void remove().catch(() => this.#scope.reload()), {
      kind: 'quiet',
      title: `Stop publishing port ${port}`,
    });
  }
}
