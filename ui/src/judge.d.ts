/** What is drawn there and does not belong; empty if all is well. */
export function judge(root: Document | Element): string[];
