import { Dialog } from "./dialog";
import { Icon } from "./icons";
import { Command } from "./states";

/** A secret right after it was made: never again. */
export function Secret({ title, command, about, close }: { title: string; command: string; about: string; close: () => void }) {
  return (
    <Dialog title={title} close={close} wide>
      <div className="grid gap-4">
        <p className="flex items-center gap-2 rounded-md bg-warn-soft px-3 py-2 text-warn">
          <Icon name="warn" /> This is shown once: copy it now.
        </p>
        <p>{about}</p>
        <Command text={command} />
        <div className="flex justify-end">
          <button type="button" className="button primary" onClick={close}>
            I have copied it
          </button>
        </div>
      </div>
    </Dialog>
  );
}
