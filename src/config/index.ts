export { engineFiles } from './engine-files.ts';
export {
  credentialFiles,
  engineArguments,
  hashCacheFile,
  plainDataDir,
  readSettings,
  settingsOf,
  stateFolder,
  userIgnoreFile,
  type Environment,
  type SettingSources,
} from './read.ts';
export { QUOTA_PARTS, quotaOf, quotaPart } from './quota.ts';
export { readProfiles, writeProfile } from './profiles.ts';
export { type Program, type Setting, type SettingGroup } from './setting.ts';
export { SETTINGS, type SettingName, type Settings } from './settings.ts';
