// Markdown as elements, never as HTML: headings, paragraphs, lists, code, emphasis and links of http(s).
import type { ComponentChildren, JSX } from "preact";

type Block =
  | { kind: "heading"; level: number; text: string }
  | { kind: "code"; text: string }
  | { kind: "list"; ordered: boolean; items: string[] }
  | { kind: "quote"; text: string }
  | { kind: "paragraph"; text: string };

/** The blocks of a text. */
export function blocksOf(text: string): Block[] {
  const blocks: Block[] = [];
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  let paragraph: string[] = [];
  const end = () => {
    if (paragraph.length > 0) blocks.push({ kind: "paragraph", text: paragraph.join("\n") });
    paragraph = [];
  };
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] as string;
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    const item = /^\s*(?:([-*+])|\d{1,9}[.)])\s+(.*)$/.exec(line);
    if (line.startsWith("```")) {
      end();
      const code: string[] = [];
      for (at++; at < lines.length && !(lines[at] as string).startsWith("```"); at++)
        code.push(lines[at] as string);
      blocks.push({ kind: "code", text: code.join("\n") });
    } else if (heading !== null) {
      end();
      blocks.push({ kind: "heading", level: (heading[1] as string).length, text: heading[2] as string });
    } else if (item !== null) {
      end();
      const ordered = item[1] === undefined;
      const last = blocks.at(-1);
      const follows = at > 0 && lines[at - 1]?.trim() !== "";
      if (follows && last?.kind === "list" && last.ordered === ordered) last.items.push(item[2] as string);
      else blocks.push({ kind: "list", ordered, items: [item[2] as string] });
    } else if (line.startsWith("> ")) {
      end();
      blocks.push({ kind: "quote", text: line.slice(2) });
    } else if (line.trim() === "") end();
    else paragraph.push(line);
  }
  end();
  return blocks;
}

const INLINE =
  /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)|(https?:\/\/[^\s<>"']+)/g;

function inline(text: string): ComponentChildren[] {
  const found: ComponentChildren[] = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    found.push(text.slice(from, match.index));
    from = match.index + match[0].length;
    const [, code, strong, emphasis, label, address, bare] = match;
    if (code !== undefined) found.push(<code>{code}</code>);
    else if (strong !== undefined) found.push(<strong>{strong}</strong>);
    else if (emphasis !== undefined) found.push(<em>{emphasis}</em>);
    else {
      found.push(
        <a class="link" href={address ?? bare ?? ""} target="_blank" rel="noreferrer noopener">
          {label ?? bare}
        </a>,
      );
    }
  }
  found.push(text.slice(from));
  return found;
}

function BlockView({ block }: { block: Block }): JSX.Element {
  switch (block.kind) {
    case "heading":
      // Below the headings of the page.
      return block.level <= 2 ? <h3>{inline(block.text)}</h3> : <h4>{inline(block.text)}</h4>;
    case "code":
      return <pre>{block.text}</pre>;
    case "list": {
      const items = block.items.map((item) => <li key={item}>{inline(item)}</li>);
      return block.ordered ? <ol>{items}</ol> : <ul>{items}</ul>;
    }
    case "quote":
      return <blockquote>{inline(block.text)}</blockquote>;
    default:
      return <p>{inline(block.text)}</p>;
  }
}

/** A text in Markdown. */
export function Markdown({ text }: { text: string }): JSX.Element {
  return (
    <div class="markdown">
      {blocksOf(text).map((block, at) => (
        <BlockView key={at} block={block} />
      ))}
    </div>
  );
}
