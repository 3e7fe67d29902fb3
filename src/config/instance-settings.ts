import { limits } from '../contract/limits.ts';
import { between, duration, setting, text, type Program } from './setting.ts';

const ENGINE = { group: 'engine', programs: ['contree', 'contree-mcp'] as readonly Program[] } as const;

/** Rows of the settings table about instances that stay. */
export const INSTANCE_SETTINGS = {
  publishListen: setting({
    flag: 'publish-listen',
    env: 'CONTREE_PUBLISH_LISTEN',
    default: '127.0.0.1',
    value: 'ADDRESS',
    parse: text,
    doc: 'Address at which published ports of instances are reached. Anything but loopback opens them to the network, without tokens.',
    ...ENGINE,
  }),
  instancesMax: setting({
    flag: 'instances-max',
    env: 'CONTREE_INSTANCES_MAX',
    default: limits.instancesPerProjectMax,
    value: 'COUNT',
    parse: between(0, 1_024),
    doc: 'Maximum number of open instances of each project.',
    ...ENGINE,
  }),
  instanceIdleTimeout: setting({
    flag: 'instance-idle-timeout',
    env: 'CONTREE_INSTANCE_IDLE_TIMEOUT',
    default: limits.instanceIdleSecondsDefault,
    defaultText: '30m',
    value: 'TIME',
    parse: duration(1, limits.instanceIdleSecondsMax),
    doc: 'Time without use after which an instance is closed, if the request says nothing else. At most 1d.',
    ...ENGINE,
  }),
  instanceLifetime: setting({
    flag: 'instance-lifetime',
    env: 'CONTREE_INSTANCE_LIFETIME',
    default: limits.instanceLifeSecondsDefault,
    defaultText: '24h',
    value: 'TIME',
    parse: duration(1, limits.instanceLifeSecondsMax),
    doc: 'Time after which an instance is closed in any case, if the request says nothing else.',
    ...ENGINE,
  }),
  instanceMaxLifetime: setting({
    flag: 'instance-max-lifetime',
    env: 'CONTREE_INSTANCE_MAX_LIFETIME',
    default: limits.instanceLifeSecondsMax,
    defaultText: '7d',
    value: 'TIME',
    parse: duration(1, limits.instanceLifeSecondsMax),
    doc: 'Longest time that a request may ask for. At most 7d.',
    ...ENGINE,
  }),
  instanceCheckpoint: setting({
    flag: 'instance-checkpoint',
    env: 'CONTREE_INSTANCE_CHECKPOINT',
    default: 0,
    defaultText: 'none',
    value: 'TIME',
    parse: duration(0, limits.instanceLifeSecondsMax),
    doc: 'Time between images that are made of an instance while it is used, if the request says nothing else. 0 makes none; disposable instances have none.',
    ...ENGINE,
  }),
} as const;
