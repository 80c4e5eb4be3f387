import { Command } from "cmdk";
import { useLocation } from "wouter";
import { useGet } from "../api/hooks";
import { useResources } from "../api/resources";
import type { List, Proxy, Service } from "../api/types";
import { rank } from "../lib/filter";
import { useKept } from "../lib/params";
import { setTheme, useTheme } from "../lib/theme";
import { Dialog } from "../ui/dialog";
import { Icon, type IconName } from "../ui/icons";
import { configPath } from "../pages/config";
import { servicePath } from "../pages/services";
import { PLACES } from "./nav";

function Entry({ icon, children, value, words = [], note, run }: { icon: IconName; children: string; value: string; words?: string[]; note?: string; run: () => void }) {
  return (
    <Command.Item value={value} keywords={[children, ...words]} onSelect={run} className="flex h-9 cursor-pointer items-center gap-3 rounded-md px-3 data-[selected=true]:bg-accent-soft">
      <Icon name={icon} />
      <span className="clip flex-1">{children}</span>
      {note && <span className="clip text-soft">{note}</span>}
    </Command.Item>
  );
}

export default function Palette({ close, help }: { close: () => void; help: () => void }) {
  const [, go] = useLocation();
  const kept = useKept();
  const theme = useTheme();
  const services = useGet<List<Service>>("/services", { limit: 1000 });
  const proxies = useGet<List<Proxy>>("/proxies", { limit: 1000 });
  const resources = useResources();
  const to = (path: string) => () => {
    close();
    go(kept(path));
  };
  return (
    <Dialog title="Search" close={close} top bare>
      <Command label="Search" loop filter={(_, search, words = []) => rank(search, words)}>
        <div className="flex items-center gap-2 border-b border-line px-4 text-soft">
          <Icon name="search" />
          <Command.Input data-focus="" placeholder="Pages, services, proxies, configuration, actions" className="h-12 flex-1 bg-transparent text-base text-ink outline-none" />
          <kbd className="kbd">Esc</kbd>
        </div>
        <Command.List className="max-h-[50vh] overflow-auto p-2 [&_[cmdk-group-heading]]:px-3 [&_[cmdk-group-heading]]:py-1.5 [&_[cmdk-group-heading]]:text-xs [&_[cmdk-group-heading]]:font-semibold [&_[cmdk-group-heading]]:text-soft">
          <Command.Empty className="p-6 text-center text-soft">Nothing of that name.</Command.Empty>
          <Command.Group heading="Pages">
            {PLACES.map((place) => (
              <Entry key={place.path} icon={place.icon} value={`page ${place.title}`} words={place.words?.split(" ")} note={`g ${place.key}`} run={to(place.path)}>
                {place.title}
              </Entry>
            ))}
          </Command.Group>
          <Command.Group heading="Services">
            {services.data?.items.map((service) => (
              <Entry key={service.host} icon="services" value={`service ${service.host}`} words={[service.host, "service"]} note={service.namespace} run={to(servicePath(service))}>
                {service.name ?? service.host}
              </Entry>
            ))}
          </Command.Group>
          <Command.Group heading="Proxies">
            {proxies.data?.items.map((proxy) => (
              <Entry key={proxy.node} icon="proxies" value={`proxy ${proxy.id}`} words={["proxy"]} note={proxy.kind} run={to(`/proxies/${encodeURIComponent(proxy.id)}`)}>
                {proxy.id}
              </Entry>
            ))}
          </Command.Group>
          <Command.Group heading="Configuration">
            {resources.items.map((resource) => (
              <Entry key={configPath(resource)} icon="config" value={configPath(resource)} words={[resource.kind]} note={`${resource.kind} in ${resource.namespace}`} run={to(configPath(resource))}>
                {resource.name}
              </Entry>
            ))}
          </Command.Group>
          <Command.Group heading="Actions">
            <Entry
              icon={theme === "dark" ? "sun" : "moon"}
              value="theme" words={["light", "dark"]}
              run={() => {
                setTheme(theme === "dark" ? "light" : "dark");
                close();
              }}
            >
              {theme === "dark" ? "Light theme" : "Dark theme"}
            </Entry>
            <Entry
              icon="info"
              value="keyboard" words={["shortcuts", "help"]}
              run={() => {
                close();
                help();
              }}
            >
              Keyboard
            </Entry>
          </Command.Group>
        </Command.List>
      </Command>
    </Dialog>
  );
}
