/** Guide for models, in Markdown. Every call in its ``` blocks is executed by a test. */
export interface Guide {
  readonly title: string;
  readonly text: string;
}
