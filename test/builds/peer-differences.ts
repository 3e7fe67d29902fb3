/** Something that buildah 1.28 does differently from BuildKit, whose language the builder follows. */
interface PeerDifference {
  readonly buildah: string;
  /** Rule of the Dockerfile reference, or of BuildKit where the reference says nothing. */
  readonly rule: string;
  /** Lines in which the images differ, by case. */
  readonly lines: Readonly<Record<string, readonly string[]>>;
}

const PEER_DIFFERENCES: readonly PeerDifference[] = [
  {
    buildah: 'leaves the empty files and directories that it made to mount something there',
    rule: 'BuildKit removes what it made for a mount and is still empty (executor/stubs.go)',
    lines: {
      'go-cache-mount': [
        '"/go/pkg": ours absent, buildah directory 0755 0:0',
        '"/go/pkg/mod": ours absent, buildah directory 0755 0:0',
        '"/root/.cache": ours absent, buildah directory 0755 0:0',
        '"/root/.cache/go-build": ours absent, buildah directory 0755 0:0',
      ],
      'mount-secret': ['"/etc/token": ours absent, buildah file 0755 0:0 e3b0c44298fc1c14'],
      'mount-tmpfs': ['"/scratch": ours absent, buildah directory 0755 0:0'],
    },
  },
  {
    buildah: 'makes the directories of the last VOLUME of a stage',
    rule: 'VOLUME changes the configuration only: BuildKit makes no directory (dispatchVolume)',
    lines: { 'volume-forms': ['"/from-env": ours absent, buildah directory 0755 0:0'] },
  },
  {
    buildah: 'drops the set-user-ID and set-group-ID bits of files of the context',
    rule: 'Dockerfile reference, COPY: contents are copied "including filesystem metadata"',
    lines: {
      'copy-modes-and-empty': [
        '"/ctx/suid": ours file 4755 0:0 73cb3858a687a849, buildah file 0755 0:0 73cb3858a687a849',
      ],
    },
  },
];

/** Returns differences of a case that are not listed, and those listed that are not there any more. */
export function unlisted(name: string, found: readonly string[]): string[] {
  const listed = new Set(PEER_DIFFERENCES.flatMap(({ lines }) => lines[name] ?? []));
  return [
    ...found.filter((line) => !listed.has(line)),
    ...[...listed].filter((line) => !found.includes(line)).map((line) => `listed, but not found: ${line}`),
  ];
}
