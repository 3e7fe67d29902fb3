import { bound, row } from './errors/classes.ts';
import { BUILD_ERRORS } from './errors/builds.ts';
import { CLUSTER_ERRORS } from './errors/cluster.ts';
import { INSTANCE_ERRORS } from './errors/instances.ts';
import { OBJECT_ERRORS } from './errors/objects.ts';
import { PROJECT_ERRORS } from './errors/projects.ts';

/**
 * Every fault we raise on purpose. Codes are public and never renamed; messages are for people and may change.
 * `docs/errors.md` is generated from this table.
 */
export const ERRORS = {
  ARGUMENT_INVALID: row<{ reason: string }>({
    class: 'invalid',
    message: ({ reason }) => reason,
    hint: 'Correct the named argument and try again.',
  }),
  TAG_INVALID: row<{ tag: string }>({
    class: 'invalid',
    message: ({ tag }) => `"${tag}" is not a tag`,
    hint: 'Use at most 256 characters of A-Z a-z 0-9 _ - separated by : / or . such as common/python-ml/python:3.11-slim.',
  }),
  REFERENCE_INVALID: row<{ reference: string; reason: string }>({
    class: 'invalid',
    message: ({ reference, reason }) => `"${reference}" is not an image reference: ${reason}`,
    hint: 'Use docker://registry/repository:tag, oci://…, or a short name such as python:3.11-slim.',
  }),
  PATH_INVALID: row<{ path: string; reason: string }>({
    class: 'invalid',
    message: ({ path, reason }) => `path ${JSON.stringify(path)}: ${reason}`,
    hint: 'Use an absolute path inside the image.',
  }),
  PATTERN_INVALID: row<{ pattern: string; reason: string }>({
    class: 'invalid',
    message: ({ pattern, reason }) => `pattern ${JSON.stringify(pattern)}: ${reason}`,
    hint: 'Use a regular expression without look-around or back-references.',
  }),
  CONFIG_INVALID: row<{ setting: string; reason: string }>({
    class: 'invalid',
    message: ({ setting, reason }) => `setting ${setting}: ${reason}`,
    hint: 'Run the program with --help for the settings and their values.',
  }),
  AGENT_FILE_INVALID: row<{ file: string; reason: string }>({
    class: 'invalid',
    message: ({ file, reason }) => `${file} was left as it is: ${reason}`,
    hint: 'Fix that file, or add the output of "contree install AGENT --print" by hand.',
  }),
  ARCHIVE_INVALID: row<{ reason: string }>({
    class: 'invalid',
    message: ({ reason }) => `not an archive we can import: ${reason}`,
    hint: 'Give a docker-save archive, an OCI layout, or a tar of a root filesystem (plain, gzip or zstd).',
  }),
  TOKEN_MISSING: row<unknown>({
    class: 'unauthenticated',
    message: () => 'no token was given',
    hint: 'Send "Authorization: Bearer <token>"; "contree token create" makes one.',
  }),
  SIGN_IN_NEEDED: row<{ registry: string; url?: string }>({
    class: 'unauthenticated',
    message: ({ registry }) => `credentials for ${registry} are needed`,
    hint: 'Run "contree auth registry HOST" in a terminal; never paste a token into a chat.',
  }),
  TOKEN_INVALID: row<unknown>({
    class: 'denied',
    message: () => 'the token is unknown or has expired',
    hint: 'Make a new one with "contree token create".',
  }),
  PERMISSION_MISSING: row<{ permission: string }>({
    class: 'denied',
    message: ({ permission }) => `the token lacks the permission "${permission}"`,
    hint: 'Ask for a token with that permission; whoami shows the ones this token has.',
  }),
  REGISTRY_DENIED: row<{ registry: string; status: number }>({
    class: 'denied',
    message: ({ registry, status }) => `${registry} refused access (HTTP ${status})`,
    hint: 'Check the name, or sign in with "contree auth registry HOST" and import again.',
  }),
  REGISTRY_ADDRESS_DENIED: row<{ host: string; reason: string }>({
    class: 'denied',
    message: ({ host, reason }) => `will not connect to ${host}: ${reason}`,
    hint: 'The owner of the engine can permit a registry of its own network in the allowed-registries setting.',
  }),
  PATH_OUTSIDE_ROOT: row<{ path: string; roots: string }>({
    class: 'denied',
    message: ({ path, roots }) =>
      roots === ''
        ? `${JSON.stringify(path)} cannot be used: this server was given no folder of its machine`
        : `${JSON.stringify(path)} is outside the allowed folders (${roots})`,
    hint: 'Use a path below an allowed folder, or start the server with --fs-root.',
  }),
  STARTUP_FILE_DENIED: row<{ path: string }>({
    class: 'denied',
    message: ({ path }) =>
      `${JSON.stringify(path)} is a file from which programs of this machine load code or settings`,
    hint: 'Download to another name and tell the user, who can move it or start the server with --allow-startup-files (not for executable files).',
  }),
  SECRET_DENIED: row<{ path: string }>({
    class: 'denied',
    message: ({ path }) => `${JSON.stringify(path)} looks like a secret and is not uploaded`,
    hint: 'Give a run the value with env_from, or ask the user to send the file with "contree upload".',
  }),
  ORIGIN_DENIED: row<{ origin: string }>({
    class: 'denied',
    message: ({ origin }) => `requests from ${JSON.stringify(origin)} are not accepted`,
    hint: 'Open the server by its loopback address.',
  }),
  IMAGE_NOT_FOUND: row<{ image: string; closest?: string }>({
    class: 'missing',
    message: ({ image, closest }) => `no image ${image}${closest ? `; closest: ${closest}` : ''}`,
    hint: 'List the images and tags that exist (list_images, "contree images"), or import one.',
  }),
  TAG_NOT_MOVED: row<{ tag: string; image: string; answer: 'declined' | 'dismissed' }>({
    class: 'denied',
    message: ({ tag, image, answer }) =>
      `tag:${tag} was not moved to image ${image}: the user ${answer === 'declined' ? 'declined' : 'was not reached, or closed the question without an answer'}`,
    hint: 'Ask the user; until then name the image by its UUID.',
  }),
  TAG_NOT_FOUND: row<{ tag: string }>({
    class: 'missing',
    message: ({ tag }) => `no tag ${tag}`,
    hint: 'List the images and tags that exist (list_images, "contree images").',
  }),
  OPERATION_NOT_FOUND: row<{ operation: string }>({
    class: 'missing',
    message: ({ operation }) => `no operation ${operation}`,
    hint: 'List the operations that exist (list_operations, "contree ops").',
  }),
  SUBPROCESS_NOT_FOUND: row<{ operation: string; spid: number; ended?: boolean }>({
    class: 'missing',
    message: ({ operation, spid, ended }) =>
      ended ? `process ${spid} of operation ${operation} has ended` : `operation ${operation} has no process ${spid}`,
    hint: 'Use the spid that creating the subprocess returned; an instance forgets the oldest of very many.',
  }),
  FILE_NOT_FOUND: row<{ path: string; nearest?: string; closest?: string }>({
    class: 'missing',
    message: ({ path, nearest, closest }) =>
      `no file ${JSON.stringify(path)}${nearest ? `; ${nearest} exists` : ''}${closest ? `; closest: ${closest}` : ''}`,
    hint: 'List the directory (list_files, "contree ls") to see what is there.',
  }),
  LOCAL_FILE_NOT_FOUND: row<{ path: string; nearest?: string }>({
    class: 'missing',
    message: ({ path, nearest }) =>
      `no local file or folder ${JSON.stringify(path)}${nearest ? `; ${JSON.stringify(nearest)} exists` : ''}`,
    hint: 'Correct the path: it is one of this machine, not of an image.',
  }),
  UPLOAD_NOT_FOUND: row<{ file: string }>({
    class: 'missing',
    message: ({ file }) => `no uploaded file ${file}`,
    hint: 'Upload the file again and use the id that it returns.',
  }),
  DIRECTORY_STATE_NOT_FOUND: row<{ state: string }>({
    class: 'missing',
    message: ({ state }) => `no directory state ${state}`,
    hint: 'Sync the directory again (rsync) and use the id that it returns.',
  }),
  TOKEN_NOT_FOUND: row<{ token: string }>({
    class: 'missing',
    message: ({ token }) => `no token ${token}`,
    hint: 'List the tokens that exist with "contree token list".',
  }),
  MANIFEST_NOT_FOUND: row<{ reference: string }>({
    class: 'missing',
    message: ({ reference }) => `the registry has no image ${reference}`,
    hint: 'Check the repository name and the tag.',
  }),
  ROUTE_NOT_FOUND: row<{ route: string }>({
    class: 'missing',
    message: ({ route }) => `no route ${route}`,
    hint: 'See /v1/openapi.json for the routes.',
  }),
  OPERATION_FINISHED: row<{ operation: string; status: string }>({
    class: 'conflict',
    message: ({ operation, status }) => `operation ${operation} is not cancellable: it is ${status}`,
    hint: 'Read its result instead (get_operation, "contree show").',
  }),
  IMAGE_IN_USE: row<{ image: string; by: string }>({
    class: 'conflict',
    message: ({ image, by }) => `image ${image} is in use by ${by}`,
    hint: 'Remove what depends on it first, or delete with --cascade.',
  }),
  STORE_LOCKED: row<{ pid: number }>({
    class: 'conflict',
    message: ({ pid }) => `another engine (process ${pid}) owns this data directory`,
    hint: 'Use that engine, or give another --data-dir.',
  }),
  ENGINE_BUSY: row<unknown>({
    class: 'conflict',
    message: () => 'operations are waiting or running on the engine',
    hint: 'Wait for them ("contree ops"), or stop the engine anyway with "contree engine stop --force".',
  }),
  NOT_A_FILE: row<{ path: string; type: string }>({
    class: 'conflict',
    http: 422,
    message: ({ path, type }) => `${JSON.stringify(path)} is a ${type}, not a regular file`,
    hint: 'List it instead (list_files, "contree ls"), or take it as an archive.',
  }),
  NOT_A_DIRECTORY: row<{ path: string; type: string }>({
    class: 'conflict',
    http: 422,
    message: ({ path, type }) => `${JSON.stringify(path)} is a ${type}, not a directory`,
    hint: 'Read it instead (read_file, "contree cat").',
  }),
  SYMLINK_LOOP: row<{ path: string }>({
    class: 'conflict',
    http: 422,
    message: ({ path }) => `${JSON.stringify(path)} resolves through too many symbolic links`,
    hint: 'Use the path of the target itself.',
  }),
  DESTINATION_EXISTS: row<{ path: string }>({
    class: 'conflict',
    message: ({ path }) => `${JSON.stringify(path)} exists`,
    hint: 'Call again with overwrite=true, or give another destination.',
  }),
  ...BUILD_ERRORS,
  ...CLUSTER_ERRORS,
  ...OBJECT_ERRORS,
  ...INSTANCE_ERRORS,
  ...PROJECT_ERRORS,
  OPERATION_LIMIT: row<{ limit: number }>({
    class: 'exhausted',
    message: ({ limit }) => `${limit} operations are already waiting or running`,
    hint: 'Wait for some of them (wait_operations), then try again.',
  }),
  FILE_TOO_LARGE: bound<{ path: string; bytes: number; limit: number }>({
    message: ({ path, bytes, limit }) =>
      `${JSON.stringify(path)} has ${bytes} bytes, more than the ${limit} allowed here`,
    hint: 'Download it, or read a range of it.',
  }),
  BODY_TOO_LARGE: bound<{ limit: number }>({
    message: ({ limit }) => `the request is larger than ${limit} bytes`,
    hint: 'Send large contents as an uploaded file.',
  }),
  INSPECTION_LIMIT: bound<{ what: string; limit: number }>({
    message: ({ what, limit }) => `the inspection of the image exceeds the limit of ${limit} ${what}`,
    hint: 'Name a more specific directory or file, request less (a listing takes limit and offset), or do it inside a run.',
  }),
  INSPECTION_BUSY: row<{ limit: number }>({
    class: 'exhausted',
    message: ({ limit }) => `${limit} inspections of this project are already waiting`,
    hint: 'Wait for some of them to end, then try again.',
  }),
  BODY_TOO_COMPLEX: bound<{ what: string; limit: number }>({
    message: ({ what, limit }) => `the request exceeds the limit of ${limit} ${what}`,
    hint: 'Send less at once; send a directory state with many files as NDJSON.',
  }),
  SYNC_LIMIT: bound<{ limit: number; largest: string }>({
    message: ({ limit, largest }) => `the folder has more than ${limit} files and directories (most are in ${largest})`,
    hint: 'Exclude files that can be regenerated, for example exclude=["node_modules/", ".git/"], or sync a smaller folder.',
  }),
  LAYER_LIMIT: bound<{ what: string; limit: number }>({
    message: ({ what, limit }) => `the layer exceeds the limit of ${limit} ${what}`,
    hint: 'Use a smaller image; docs/limits.md lists all limits.',
  }),
  IMAGE_LIMIT: bound<{ what: string; limit: number }>({
    message: ({ what, limit }) => `the OCI image exceeds the limit of ${limit} ${what}`,
    hint: 'Use a smaller image, or one with fewer layers.',
  }),
  LAYER_BYTES_EXCEEDED: bound<{ limit: number }>({
    message: ({ limit }) => `the run wrote more than the ${limit} bytes it is allowed`,
    hint: 'Write less, or give the run a larger resources_limits.max_layer_bytes (--disk).',
  }),
  DISK_FULL: row<{ needed?: number }>({
    class: 'exhausted',
    http: 507,
    retry: 'after a change',
    message: ({ needed }) => `the data directory's disk is full${needed ? ` (${needed} bytes more are needed)` : ''}`,
    hint: 'Free space with "contree gc" or "contree rm", then try again.',
  }),
  OPERATION_CANCELLED: row<{ operation: string }>({
    class: 'cancelled',
    message: ({ operation }) => `operation ${operation} was cancelled`,
    hint: 'Start it again if it is still wanted.',
  }),
  TIMED_OUT: row<{ what: string; seconds: number }>({
    class: 'unavailable',
    http: 504,
    message: ({ what, seconds }) => `${what} took longer than ${seconds} s`,
    hint: 'Try again with a larger timeout.',
  }),
  PLATFORM_UNSUPPORTED: row<{ reference: string; wanted: string; offered: string }>({
    class: 'unsupported',
    message: ({ reference, wanted, offered }) => `${reference} has no image for ${wanted}, only for ${offered}`,
    hint: 'Choose an image that is built for this machine.',
  }),
  MEDIA_TYPE_UNSUPPORTED: row<{ mediaType: string }>({
    class: 'unsupported',
    message: ({ mediaType }) => `media type ${mediaType} is not supported`,
    hint: 'Push the image again as OCI or Docker schema 2 with gzip, zstd or plain layers.',
  }),
  STORE_VERSION_UNSUPPORTED: row<{ found: number; known: number }>({
    class: 'unsupported',
    message: ({ found, known }) => `the data directory has format ${found}; this version knows ${known}`,
    hint: 'Use the version that wrote it, or give another --data-dir.',
  }),
  DRIVER_UNAVAILABLE: row<{ reason: string; remedy?: string }>({
    class: 'unavailable',
    message: ({ reason, remedy }) => `the sandbox cannot be started: ${reason}${remedy ? `; ${remedy}` : ''}`,
    hint: 'Run "contree doctor" to see what is missing and how to install it.',
  }),
  ENGINE_UNAVAILABLE: row<{ reason: string }>({
    class: 'unavailable',
    message: ({ reason }) => `the engine does not answer: ${reason}`,
    hint: 'Run "contree doctor"; the engine\'s log is in the data directory.',
  }),
  ENGINE_STOPPED: row<{ operation: string }>({
    class: 'unavailable',
    message: ({ operation }) => `the engine stopped while operation ${operation} was running`,
    hint: 'Start the operation again; images saved before are intact.',
  }),
  GUEST_BOOT_TIMEOUT: row<{ seconds: number }>({
    class: 'unavailable',
    message: ({ seconds }) => `the sandbox did not start within ${seconds} s`,
    hint: 'Try again; if it persists run "contree doctor".',
  }),
  GUEST_LOST: row<{ reason: string }>({
    class: 'unavailable',
    message: ({ reason }) => `the sandbox ended before the command did: ${reason}`,
    hint: 'Try again; give the run more memory if the guest ran out of it.',
  }),
  REGISTRY_UNREACHABLE: row<{ registry: string; reason: string }>({
    class: 'unavailable',
    message: ({ registry, reason }) => `${registry} does not answer: ${reason}`,
    hint: 'Check the name and the network, then try again.',
  }),
  REGISTRY_RATE_LIMITED: row<{ registry: string; retryAfterSeconds?: number }>({
    class: 'unavailable',
    message: ({ registry, retryAfterSeconds }) =>
      `${registry} limits the rate of requests${retryAfterSeconds ? `; it asks to wait ${retryAfterSeconds} s` : ''}`,
    hint: 'Wait, or sign in with "contree auth registry HOST" for a higher limit.',
  }),
  REGISTRY_PROTOCOL: row<{ registry: string; reason: string }>({
    class: 'corrupt',
    message: ({ registry, reason }) => `${registry} does not speak the OCI distribution protocol: ${reason}`,
    hint: 'Check that the address is a container registry.',
  }),
  DIGEST_MISMATCH: row<{ what: string; expected: string; actual: string }>({
    class: 'corrupt',
    message: ({ what, expected, actual }) => `${what} has digest ${actual}, not ${expected}`,
    hint: 'Try again; if it persists the source serves damaged data.',
  }),
  LAYER_MALFORMED: row<{ reason: string }>({
    class: 'corrupt',
    message: ({ reason }) => `the layer is malformed: ${reason}`,
    hint: 'Build or push the image again.',
  }),
  GUEST_PROTOCOL: row<{ reason: string }>({
    class: 'corrupt',
    message: ({ reason }) => `the guest broke the channel protocol: ${reason}`,
    hint: 'Try again; nothing that the guest wrote was kept.',
  }),
  STORE_CORRUPT: row<{ what: string; reason: string }>({
    class: 'corrupt',
    http: 500,
    message: ({ what, reason }) => `${what} in the data directory is damaged: ${reason}`,
    hint: 'Run "contree doctor --verify" to see what is affected, and import those images again.',
  }),
  REMOTE_FAILED: row<{ status: number; reason: string }>({
    class: 'unavailable',
    // 0 where there was no answer.
    message: ({ status, reason }) =>
      status === 0 ? `the server does not answer: ${reason}` : `the server answered HTTP ${status}: ${reason}`,
    hint: 'Check the address of the server (--url), or try again later.',
  }),
  INTERNAL: row<{ incident: string }>({
    class: 'bug',
    message: ({ incident }) => `internal error (incident ${incident})`,
    hint: 'Report it with the engine log lines that carry the incident id.',
  }),
} as const;
