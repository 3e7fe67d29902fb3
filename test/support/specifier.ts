/**
 * Matches the module that an import or export names. Statements begin a line, or their `} from` does; only `import(` may
 * stand anywhere. Prose in strings does neither.
 */
export const SPECIFIER =
  /(?:^(?:(?:import|export)\b(?:[^'"\n]*\bfrom)?|\}\s*from)\s*|\bimport\s*\(\s*)['"]([^'"\n]+)['"]/gmu;
