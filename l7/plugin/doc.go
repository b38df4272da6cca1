// Package plugin is the contract between the HTTP engine and its plugins, and nothing else: it is a leaf that both sides
// import.
//
// A plugin is a folder under l7/plugins (or ai/plugins) that calls [Register] with a [Def] from init. [Def.New] compiles one
// configuration into an instance, once, when the configuration is published; the instance implements the phase interfaces that it
// needs ([Rewriter], [Accesser], [BeforeProxier], [HeaderFilterer], [BodyFilterer], [Logger]). The engine compiles the instances of a route
// into one slice per phase, so a request costs one interface call for each plugin and phase that is really there.
//
// All phases of one exchange run one after the other and never at the same time, but not always on the same goroutine: phases of a [Waiter]
// run on a goroutine of their own so that they may block, everything else runs on an event loop and must not block. A phase that
// wants time to pass (a leaky bucket, an injected delay) sets [Exchange.Delay] and returns; the engine continues after it.
//
// Memory: byte slices that an [Exchange] hands out are valid until the exchange ends (after the log phase). A plugin that keeps bytes
// longer copies them. [Exchange.Alloc] gives scratch memory with the same life time and no garbage.
package plugin
