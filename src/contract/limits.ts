import { assert } from '../std/assert.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

/** Every limit of the product, unit last. Orders that must hold between limits are asserted below. */
export const limits = {
  // Runs
  commandTimeoutSecondsDefault: 60,
  commandTimeoutSecondsMax: 3_600,
  commandBytesMax: 1 * MiB,
  /** One word of a command (a shell expression is one), or one variable with its name: Linux's MAX_ARG_STRLEN. */
  argumentBytesMax: 128 * KiB - 1,
  commandCharactersListed: 1_000,
  envBytesMax: 1 * MiB,
  stdinBytesMax: 8 * MiB,
  outputBytesKept: 10 * MiB,
  outputTailBytes: 64 * KiB,
  outputBytesShownDefault: 1 * MiB,
  outputEventBytesMax: 64 * KiB,
  subprocessesMax: 64,
  filesPerRunMax: 10_000,
  directoryStateEntriesMax: 200_000,
  directoryStateBytesMax: 256 * MiB,
  directoryStatesPerRunMax: 16,
  layerBytesDefault: 12 * GiB,
  layerBytesMax: 64 * GiB,
  killGraceMs: 2_000,
  operationsQueuedMax: 10_000,

  // Instances that stay
  instanceIdleSecondsDefault: 1_800,
  instanceIdleSecondsMax: 86_400,
  instanceLifeSecondsDefault: 86_400,
  instanceLifeSecondsMax: 604_800,
  /** Time before the end of an idle or old instance at which its log says so. */
  instanceWarningSeconds: 60,
  instancesPerProjectMax: 64,
  /** Ended processes that the description of an instance still names. */
  instanceProcessesListed: 100,
  /** Ended processes whose events the log of an instance keeps; of more, those that ended first are forgotten. */
  instanceProcessesLogged: 1_000,
  /** Events of input that are recorded of one process. */
  instanceInputsLogged: 1_000,
  /** Output that the log of an instance keeps; beyond it the oldest is dropped. */
  instanceOutputBytesMax: 64 * MiB,
  instanceOutputRowsMax: 600_000,
  /** Output of one stream that the log keeps after the first `outputBytesKept`: the last bytes, which go on with it. */
  instanceTailBytesMax: 8 * MiB,
  instanceTailRowsMax: 16_384,
  /** Time in which all open instances keep their changes when the engine stops. */
  instanceStopMsMax: 20_000,

  // Guest
  guestBootMsMax: 300_000,
  guestRestoreMsMax: 15_000,
  frameBytesMax: 256 * KiB,
  /** Ports of one instance that are published at ports of the host. */
  portsPublishedMax: 16,
  /** The same of all instances of one project. */
  portsPerProjectMax: 128,
  /** Connections to ports of one instance at the same time, and the time for each to be made. */
  portConnectionsMax: 128,
  portConnectMsMax: 10_000,
  guestMemoryMibDefault: 1_024,
  guestMemoryMibMin: 128,
  guestMemoryMibMax: 16_384,
  guestCpusDefault: 1,
  guestCpusMax: 16,

  // Layers and archives: the source of a layer is hostile
  entriesPerLayerMax: 1_000_000,
  layersPerImageMax: 128,
  layersMountedMax: 24,
  pathBytesMax: 4_096,
  nameBytesMax: 255,
  pathDepthMax: 1_000,
  symlinkFollowsMax: 40,
  xattrsPerEntryBytesMax: 64 * KiB,
  paxHeaderBytesMax: 1 * MiB,
  layerFileBytesMax: 64 * GiB,
  metadataBytesMax: 512 * MiB,
  /** Memory of all layers under construction, and the part of each that does not count. */
  layerMemoryBytesMax: 640 * MiB,
  layerMemoryBytesFree: 32 * MiB,
  /** Compressed data may expand by at most this factor; up to `unpackedBytesFree` the factor is not checked. */
  unpackedPerPackedMax: 200,
  unpackedBytesFree: 1 * GiB,

  // Registry
  manifestBytesMax: 4 * MiB,
  configBytesMax: 8 * MiB,
  registryRedirectsMax: 5,
  registryRetriesMax: 5,
  registryTimeoutMs: 30_000,
  registryConnectTimeoutMs: 10_000,
  registryBackoffMs: 500,
  registryRetryAfterMsMax: 60_000,
  tokenBytesMax: 256 * KiB,
  manifestsPerIndexMax: 1_000,
  indexDepthMax: 2,
  archiveMembersMax: 10_000,
  importTimeoutSecondsDefault: 300,
  importTimeoutSecondsMax: 3_600,
  layerDownloadsAtOnce: 3,
  importsAtOnce: 2,

  // Builds: a Dockerfile is hostile, too
  dockerfileBytesMax: 256 * KiB,
  dockerfileInstructionsMax: 2_000,
  dockerfileStagesMax: 100,
  dockerignoreRulesMax: 1_000,
  buildsAtOnce: 4,
  buildContextEntriesMax: 200_000,
  buildDownloadBytesMax: 2 * GiB,
  buildSecretBytesMax: 512 * KiB,
  buildCacheBytesMax: 4 * GiB,
  /** Request to an SSH agent, or its answer: AGENT_MAX_LEN of OpenSSH. */
  sshMessageBytesMax: 256 * KiB,
  sshMountsMax: 16,
  buildOutputShownBytesMax: 4 * KiB,

  // REST
  pageDefault: 100,
  pageMax: 1_000,
  /** Bytes of a JSON body; the larger limit is for bodies with a process's input or with many entries. */
  jsonBodyBytesDefault: 256 * KiB,
  jsonBodyBytesMax: 16 * MiB,
  /** Limits on the values of a JSON body, counted before it is parsed: in total, and in one object or list. */
  jsonValuesMax: 64_000,
  jsonMembersMax: 12_000,
  jsonDepthMax: 32,
  jsonLineBytesMax: 64 * KiB,
  uploadBytesMax: 64 * GiB,
  bulkFileBytesMax: 128 * KiB,
  bulkFilesMax: 1_000,
  tagBytesMax: 256,
  /** Inspections that run in threads: concurrent answers, concurrent streams (archive, export), and the queue. */
  inspectionsAtOnce: 3,
  inspectionsPerProject: 2,
  inspectionsWaitingPerProject: 32,
  inspectionStreamsAtOnce: 6,
  inspectionStreamsPerProject: 4,
  inspectionSecondsMax: 60,
  /** Time that a stream waits for its reader to take the next piece. */
  inspectionStallSecondsMax: 60,
  /** Heap of each thread. */
  inspectionHeapMibMax: 128,
  entriesListedMax: 20_000,
  grepMatchesDefault: 1_000,
  /** Bounds of a search, those of the hosted service. */
  grepMatchesMax: 10_000,
  grepContextLinesMax: 50,
  grepPatternsMax: 16,
  grepPatternCharactersMax: 1_024,
  grepPathsMax: 16,
  /** A search returns the matches so far after the first time; one that does not end by itself is stopped after the second. */
  grepSecondsMax: 10,
  grepStopSecondsMax: 15,
  grepLineBytesMax: 4 * KiB,
  eventKeepaliveMs: 15_000,
  /** Time in which the link to the pages of an instance has to be opened, the session that it begins, and their number. */
  pageKeySecondsMax: 120,
  pageSessionSecondsMax: 43_200,
  pageSessionsMax: 10_000,

  // Engine life
  headersMsMax: 10_000,
  connectionsMax: 8_192,
  /** Memory of all answers that wait for readers over the network. */
  answerBytesHeldMax: 256 * MiB,
  /** An engine that ends says so at once; a busy machine needs more than ten seconds to start one. */
  engineReadyMsMax: 60_000,

  // MCP
  /** One message: as much as a JSON body, so that a run's whole standard input fits. */
  mcpBodyBytesMax: 16 * MiB,
  toolOutputBytesDefault: 8_000,
  toolTimeoutSecondsDefault: 300,
  toolReadBytesDefault: 32 * KiB,
  toolResultBytesMax: 40_000,
  inlineWaitMs: 45_000,
  taskAfterMs: 10_000,
  taskPollMs: 2_000,
} as const;

// Asserted, not described, because a comment could go out of date.
assert(limits.frameBytesMax < limits.outputBytesKept, 'a stream needs more than one frame');
assert(limits.outputEventBytesMax <= limits.frameBytesMax, 'one frame may become several events, never the reverse');
assert(limits.guestRestoreMsMax < limits.guestBootMsMax, 'a restore is what saves us the boot');
assert(limits.directoryStateBytesMax <= limits.metadataBytesMax, 'what was taken in can be read again');
assert(limits.outputBytesShownDefault <= limits.outputBytesKept, 'what is shown must have been kept');
assert(limits.grepSecondsMax < limits.grepStopSecondsMax, 'a search ends with what it found before it is stopped');
assert(limits.inspectionsPerProject < limits.inspectionsAtOnce, 'one project leaves a thread to the others');
assert(limits.inspectionStreamsPerProject < limits.inspectionStreamsAtOnce, 'and streams alike');
assert(limits.filesPerRunMax < limits.jsonMembersMax, 'the files of a run are one object');
assert(
  limits.instanceIdleSecondsDefault <= limits.instanceLifeSecondsDefault,
  'an instance may be idle before it ends',
);
assert(
  2 * (limits.outputBytesKept + limits.instanceTailBytesMax) < limits.instanceOutputBytesMax,
  'one command leaves room for others in the log',
);
assert(limits.instanceProcessesListed <= limits.instanceProcessesLogged, 'what is listed can be read');
assert(limits.layersMountedMax < limits.layersPerImageMax, 'compaction happens before the hard limit');
