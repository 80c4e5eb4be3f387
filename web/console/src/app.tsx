import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { lazy, Suspense } from "react";
import { Route, Switch, useLocation } from "wouter";
import { SessionProvider, useAccess } from "./api/session";
import { HomePage } from "./pages/home/index";
import { ProxiesPage } from "./pages/proxies";
import { RegistriesPage } from "./pages/registries";
import { ServicesPage } from "./pages/services";
import { Login } from "./shell/login";
import { Shell } from "./shell/shell";
import { Boundary } from "./ui/boundary";
import { EmptyFirst, Loading } from "./ui/states";

const ConfigPage = lazy(() => import("./pages/config"));
const NewPage = lazy(() => import("./pages/config/object").then((module) => ({ default: module.NewPage })));
const ObjectPage = lazy(() => import("./pages/config/object"));
const TopologyPage = lazy(() => import("./pages/topology"));
const ProxyPage = lazy(() => import("./pages/proxy"));
const MachinesPage = lazy(() => import("./pages/machines"));
const TracesPage = lazy(() => import("./pages/traces"));
const TracePage = lazy(() => import("./pages/traces").then((module) => ({ default: module.TracePage })));
const ControlPlanePage = lazy(() => import("./pages/control-plane"));
const SecurityPage = lazy(() => import("./pages/security"));
const ActivityPage = lazy(() => import("./pages/activity"));
const AccessPage = lazy(() => import("./pages/access"));
const ServicePage = lazy(() => import("./pages/service"));

const client = new QueryClient({ defaultOptions: { queries: { refetchOnWindowFocus: true } } });

function Nowhere() {
  return (
    <EmptyFirst icon="unknown" title="There is no such page">
      <p>The address is wrong, or the page is of another version.</p>
    </EmptyFirst>
  );
}

function Routes() {
  const [at] = useLocation();
  return (
    <Boundary at={at}>
    <Suspense fallback={<Loading />}>
      <Switch>
        <Route path="/" component={HomePage} />
        <Route path="/topology" component={TopologyPage} />
        <Route path="/services" component={ServicesPage} />
        <Route path="/services/:namespace/:name" component={ServicePage} />
        <Route path="/proxies" component={ProxiesPage} />
        <Route path="/proxies/:id" component={ProxyPage} />
        <Route path="/registries" component={RegistriesPage} />
        <Route path="/config" component={ConfigPage} />
        <Route path="/config/new" component={NewPage} />
        <Route path="/config/:kind/:namespace/:name" component={ObjectPage} />
        <Route path="/machines" component={MachinesPage} />
        <Route path="/security" component={SecurityPage} />
        <Route path="/traces" component={TracesPage} />
        <Route path="/traces/:id" component={TracePage} />
        <Route path="/control-plane" component={ControlPlanePage} />
        <Route path="/activity" component={ActivityPage} />
        <Route path="/access" component={AccessPage} />
        <Route component={Nowhere} />
      </Switch>
    </Suspense>
    </Boundary>
  );
}

function Gate() {
  const { state } = useAccess();
  if (state.is === "asking") return <Loading rows={3} />;
  if (state.is === "out") return <Login told={state.told} />;
  return (
    <Shell>
      <Routes />
    </Shell>
  );
}

export function App() {
  return (
    <QueryClientProvider client={client}>
      <SessionProvider>
        <Gate />
      </SessionProvider>
    </QueryClientProvider>
  );
}
