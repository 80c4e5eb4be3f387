import { type ReactNode, useEffect, useRef } from "react";
import { Icon } from "./icons";

/** The browser's own modal dialog: it keeps the focus inside, and Esc closes it. */
export function Dialog({ title, close, children, wide, top, bare }: { title: string; close: () => void; children: ReactNode; wide?: boolean; top?: boolean; bare?: boolean }) {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = box.current;
    if (dialog && !dialog.open) dialog.showModal();
    // Opening gives the focus to the first that can have it, which is seldom the one that is wanted.
    dialog?.querySelector<HTMLElement>("[data-focus]")?.focus();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={box}
      aria-label={title}
      className={`panel mx-auto p-0 shadow-[var(--shadow)] ${top ? "mt-[12vh]" : "my-auto"} ${wide ? "w-[960px]" : "w-[560px]"} max-h-[88vh] max-w-[94vw] overflow-hidden`}
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
      onMouseDown={(event) => event.target === box.current && close()}
    >
      <div className="flex max-h-[88vh] flex-col">
        {!bare && (
          <div className="panel-title shrink-0">
            <h2 className="min-w-0 flex-1">{title}</h2>
            <button type="button" className="button quiet small" aria-label="Close" onClick={close}>
              <Icon name="close" />
            </button>
          </div>
        )}
        <div className={bare ? "" : "overflow-auto p-4"}>{children}</div>
      </div>
    </dialog>
  );
}
