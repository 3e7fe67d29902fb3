const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/**
 * @param {number | null | undefined} bytes
 * @returns {string} `1.5 MiB`; a dash when it is not known
 */
export function bytes(bytes) {
  if (bytes === null || bytes === undefined || bytes < 0) return '–';
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** @param {number} value */
export function count(value) {
  return value.toLocaleString('en');
}

/**
 * @param {number} amount
 * @param {string} one the noun in the singular
 * @param {string} [many]
 */
export function counted(amount, one, many = `${one}s`) {
  return `${count(amount)} ${amount === 1 ? one : many}`;
}

/**
 * @param {number | null | undefined} seconds
 * @returns {string} `450 ms`, `3.2 s`, `4 min 10 s`, `2 h 5 min`
 */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || seconds < 0) return '–';
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/**
 * @param {string} iso
 * @param {number} [nowMs]
 * @returns {string} `just now`, `5 min ago`, `3 d ago`
 */
export function age(iso, nowMs = Date.now()) {
  const seconds = (nowMs - Date.parse(iso)) / 1000;
  if (Number.isNaN(seconds)) return iso;
  if (seconds < 10) return 'just now';
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/**
 * @param {string} iso
 * @returns {string} in the reader's time zone, to the second
 */
export function moment(iso) {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  /** @param {number} value */
  const two = (value) => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** @param {string} uuid */
export function short(uuid) {
  return uuid.slice(0, 8);
}

/** @type {readonly (readonly [number, string])[]} */
const FILE_TYPES = [
  [0o140000, 's'],
  [0o120000, 'l'],
  [0o100000, '-'],
  [0o060000, 'b'],
  [0o040000, 'd'],
  [0o020000, 'c'],
  [0o010000, 'p'],
];

/**
 * @param {number} mode `st_mode`
 * @returns {string} as `ls -l` writes it, for example `-rwsr-xr-x`
 */
export function fileMode(mode) {
  const type = FILE_TYPES.find(([bits]) => (mode & 0o170000) === bits)?.[1] ?? '?';
  const special = [mode & 0o4000, mode & 0o2000, mode & 0o1000];
  const triplets = [6, 3, 0].map((shift, index) => {
    const [both, alone] = index === 2 ? ['t', 'T'] : ['s', 'S'];
    const [executable, not] = special[index] ? [both, alone] : ['x', '-'];
    const last = (mode >> shift) & 1 ? executable : not;
    return `${(mode >> shift) & 4 ? 'r' : '-'}${(mode >> shift) & 2 ? 'w' : '-'}${last}`;
  });
  return type + triplets.join('');
}
