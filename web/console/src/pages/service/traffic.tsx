import { useMemo } from "react";
import { useCan } from "../../api/can";
import { useResources } from "../../api/resources";
import type { Resource, Service } from "../../api/types";
import { useDraft } from "../../lib/drafts";
import { fromYaml, toYaml } from "../../lib/manifest";
import { useParam } from "../../lib/params";
import { isPolicyOf, isRoutesOf, read, type Rules, type Subject, write } from "../../lib/rules";
import { Loading, ProblemBox, ReadOnly } from "../../ui/states";
import { ownerOf } from "../config";
import { EditPane, placed } from "../config/object";
import { Breaker, Fault, type FormProps, MatchRoute, Mirror, Resilience, Shift } from "./forms";

const WIZARDS: { key: string; title: string; form: (props: FormProps) => React.ReactNode }[] = [
  { key: "shift", title: "Shift", form: Shift },
  { key: "match", title: "Match", form: MatchRoute },
  { key: "timeout", title: "Timeout and retries", form: Resilience },
  { key: "fault", title: "Fault", form: Fault },
  { key: "mirror", title: "Mirror", form: Mirror },
  { key: "breaker", title: "Circuit breaker", form: Breaker },
];

/** The rules of a service, as a form and as the YAML that the form writes: either may be edited, the other follows. */
export function Traffic({ service }: { service: Service }) {
  const [chosen, choose] = useParam("wizard", "shift");
  const resources = useResources(["virtualservices", "destinationrules"]);
  const subject: Subject = useMemo(() => ({ name: service.name, namespace: service.namespace, host: service.host, versions: service.versions ?? [] }), [service]);
  const mine = resources.items.filter((resource) => isRoutesOf(resource.object, subject) || isPolicyOf(resource.object, subject));
  const stored = toYaml(mine.map(placed));
  const { text: draft, set } = useDraft(`traffic ${service.host}`);
  const edit = (text: string) => set(text === stored ? null : text);
  const text = draft ?? stored;
  const manifests = fromYaml(text);
  const denied = useCan("write", "VirtualService", service.namespace);
  const elsewhere = mine.map((resource: Resource) => ownerOf(resource)).find((owner) => owner.word !== "API");
  const readOnly = Boolean(denied || elsewhere);
  if (resources.error) return <ProblemBox error={resources.error} retry={resources.again} />;
  if (resources.pending && resources.items.length === 0) return <Loading />;
  const wizard = WIZARDS.find((each) => each.key === chosen) ?? WIZARDS[0];
  const Form = wizard?.form;
  const fill = (rules: Rules) => manifests && edit(toYaml(write(manifests, rules, subject)));
  return (
    <div className="grid gap-4">
      {elsewhere && <ReadOnly>The rules of this service live in {elsewhere.word === "file" ? "the file" : "the cluster"} {elsewhere.where}: change them there.</ReadOnly>}
      {!elsewhere && denied && <ReadOnly>{denied}</ReadOnly>}
      <EditPane
        text={text}
        setText={edit}
        before={stored}
        readOnly={readOnly}
        applied={() => set(null)}
        form={
          <section aria-label="Traffic rules as a form">
            <div className="flex flex-wrap gap-1 border-b border-line p-2" role="group" aria-label="What to change">
              {WIZARDS.map((each) => (
                <button key={each.key} type="button" className={`button small ${each === wizard ? "bg-accent-soft text-accent" : ""}`} aria-pressed={each === wizard} onClick={() => choose(each.key)}>
                  {each.title}
                </button>
              ))}
            </div>
            <div className="p-4">
              {manifests === null ? <p className="text-soft">The YAML below cannot be read as it is; the form is back once it can.</p> : Form && <Form rules={read(manifests, subject)} subject={subject} set={fill} disabled={readOnly} />}
            </div>
          </section>
        }
      />
    </div>
  );
}
