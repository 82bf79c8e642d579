// The filter box: the language of `track ls --filter`, with completion and errors at their place.
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { call, compileFilter } from "../api";
import { type Completion, complete } from "../complete";
import { useFetch, useQuery } from "../hooks";
import { useKeys } from "../keys";
import { setParams, text as textCodec, useFilter, useProject } from "../state";
import { Icon } from "./icons";

const TYPING_MS = 400;

/** The filter of all views. */
export function FilterBox(): JSX.Element {
  const [filter] = useFilter();
  const [project] = useProject();
  const { fault } = useQuery();
  const [draft, setDraft] = useState(filter);
  const [wanted, setWanted] = useState(false);
  /** Where the caret is while completions are proposed. */
  const [caret, setCaret] = useState<number | null>(null);
  const [chosen, setChosen] = useState(-1);
  const input = useRef<HTMLInputElement>(null);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const typing = useRef(false);
  const wantedCaret = useRef<number | null>(null);
  const { data: fields } = useFetch(wanted ? `fields ${project}` : null, async (signal) =>
    call("fetch_fields", { query: await compileFilter("", project, signal) }, signal),
  );

  // After a completion was taken, when the box shows it.
  useLayoutEffect(() => {
    if (wantedCaret.current === null) return;
    input.current?.focus();
    input.current?.setSelectionRange(wantedCaret.current, wantedCaret.current);
    wantedCaret.current = null;
  });
  // The address changed by other means, such as Back: the box follows unless it is being typed in.
  useEffect(() => {
    if (!typing.current) setDraft((before) => (before.trim() === filter ? before : filter));
  }, [filter]);
  useKeys([{ keys: "/", label: "Go to the filter", run: () => input.current?.focus() }]);

  const apply = (value: string, push: boolean) => {
    clearTimeout(timer.current);
    typing.current = false;
    setParams({ filter: textCodec().write(value.trim()) }, !push);
  };
  const completion = useMemo((): Completion | null => {
    if (fields === null || caret === null) return null;
    const found = complete(draft, caret, fields);
    return found.proposals.length > 0 ? found : null;
  }, [draft, caret, fields]);
  const propose = (at: number | null) => {
    setCaret(at);
    setChosen(-1);
  };
  const change = (value: string, at: number) => {
    setDraft(value);
    propose(at);
    typing.current = true;
    clearTimeout(timer.current);
    timer.current = setTimeout(() => apply(value, false), TYPING_MS);
  };
  const accept = (at: number) => {
    const proposal = completion?.proposals[at];
    if (completion === null || proposal === undefined) return;
    const value = `${draft.slice(0, completion.from)}${proposal.insert} ${draft.slice(completion.to).trimStart()}`;
    const place = completion.from + proposal.insert.length + 1;
    change(value, place);
    wantedCaret.current = place;
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const count = completion?.proposals.length ?? 0;
    if (count > 0 && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      setChosen((chosen + step + count + (chosen < 0 && step < 0 ? 1 : 0)) % count);
    } else if (count > 0 && (event.key === "Tab" || event.key === "Enter") && chosen >= 0) {
      event.preventDefault();
      accept(chosen);
    } else if (event.key === "Enter") {
      propose(null);
      apply(draft, true);
    } else if (event.key === "Escape") {
      if (completion !== null) propose(null);
      else input.current?.blur();
    }
  };
  // What is just being written is not finished yet.
  const faulty = fault !== null && draft.trim() === filter && completion === null;
  return (
    <div class="filter">
      <div class={`filter-box${faulty ? " faulty" : ""}`}>
        <Icon name="search" />
        <div class="filter-text">
          {faulty && fault.at !== null && <Squiggle text={draft} at={fault.at} input={input.current} />}
          <input
            ref={input}
            type="search"
            aria-label="Filter"
            placeholder="lr < 0.1 and status = running"
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            value={draft}
            title={draft}
            aria-invalid={faulty}
            aria-describedby={faulty ? "filter-fault" : undefined}
            aria-controls={completion === null ? undefined : "filter-proposals"}
            onFocus={() => setWanted(true)}
            onBlur={() => {
              propose(null);
              if (typing.current) apply(draft, true);
            }}
            onInput={(event) => change(event.currentTarget.value, event.currentTarget.selectionStart ?? 0)}
            onClick={(event) => propose(event.currentTarget.selectionStart)}
            onKeyDown={onKeyDown}
          />
        </div>
      </div>
      {completion !== null && (
        <div class="panel proposals" id="filter-proposals" role="listbox" aria-label="Completions">
          {completion.proposals.map((proposal, at) => (
            <button
              key={proposal.label}
              type="button"
              class="item"
              role="option"
              tabIndex={-1}
              aria-selected={at === chosen}
              // The box keeps the focus.
              onMouseDown={(event) => event.preventDefault()}
              onClick={() => accept(at)}
            >
              <span class="code">{proposal.label}</span>
              <span class="hint">{proposal.hint}</span>
            </button>
          ))}
        </div>
      )}
      {faulty && (
        <p class="fault" id="filter-fault" role="alert">
          {faultMessage(fault.message)}
          {fault.suggestion !== null && (
            <button type="button" class="link" onClick={() => apply(fault.suggestion ?? "", true)}>
              {fault.suggestion}
            </button>
          )}
        </p>
      )}
    </div>
  );
}

/** The sentence alone: the place is marked in the box. */
function faultMessage(message: string): string {
  const [sentence = ""] = message.split("\n");
  const plain = sentence.replace(/^column \d+: /, "");
  return plain.charAt(0).toUpperCase() + plain.slice(1);
}

/** A wavy line under the text from the place of the fault to the end of the word. */
function Squiggle(props: { text: string; at: number; input: HTMLInputElement | null }): JSX.Element {
  const { text, at } = props;
  const length = Math.max(1, /^[^\s()]*/.exec(text.slice(at))?.[0].length ?? 1);
  const line = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const { input } = props;
    if (input === null) return;
    const follow = () => {
      if (line.current !== null) line.current.scrollLeft = input.scrollLeft;
    };
    follow();
    input.addEventListener("scroll", follow);
    return () => input.removeEventListener("scroll", follow);
  });
  return (
    <div class="squiggle" aria-hidden="true" ref={line}>
      {text.slice(0, at)}
      <u>{text.slice(at, at + length) || " "}</u>
      {text.slice(at + length)}
    </div>
  );
}
