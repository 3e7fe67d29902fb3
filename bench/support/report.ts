/** One line of the benchmark: the measured value, its budget and its peer's value. */
export interface Row {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  /** Budget, for example `≤ 450`. */
  readonly budget?: { readonly atMost: number } | { readonly atLeast: number };
  /** The peer of the same run and its figure. */
  readonly peer?: string;
  /** Notes: where the time goes, spread, accelerator. */
  readonly note?: string;
}

function verdict({ value, budget }: Row): string {
  if (budget === undefined) return '';
  const [bound, kept] =
    'atMost' in budget
      ? [`≤ ${budget.atMost}`, value <= budget.atMost]
      : [`≥ ${budget.atLeast}`, value >= budget.atLeast];
  return `${kept ? 'kept  ' : 'MISSED'} ${bound}`;
}

/** Collects rows and prints each when it is added, so that a long benchmark shows its progress. */
export class Report {
  readonly rows: Row[] = [];

  section(title: string): void {
    console.log(`\n${title}`);
  }

  add(row: Row): void {
    this.rows.push(row);
    const value = row.value >= 100 ? row.value.toFixed(0) : row.value.toPrecision(3);
    console.log(`  ${row.what.padEnd(62)} ${value.padStart(8)} ${row.unit.padEnd(6)} ${verdict(row)}`);
    if (row.peer !== undefined) console.log(`      peer: ${row.peer}`);
    if (row.note !== undefined) console.log(`      ${row.note}`);
  }

  /** Reports why a figure could not be measured on this machine. */
  absent(what: string, reason: string): void {
    console.log(`  ${what.padEnd(62)} ${reason}`);
  }

  missed(): Row[] {
    return this.rows.filter((row) => verdict(row).startsWith('MISSED'));
  }
}
