package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

// run owns the state after Start.
func (c *Controller) run(ctx context.Context) {
	defer close(c.done)
	defer c.queue.close()
	retry := time.NewTimer(retryDelay)
	retry.Stop()
	defer retry.Stop()
	for {
		if c.behind() {
			retry.Reset(retryDelay)
		}
		select {
		case <-ctx.Done():
			return
		case batch, ok := <-c.watch:
			if !ok {
				c.relist(ctx)
				continue
			}
			c.follow(ctx, batch)
		case <-retry.C:
			c.again(ctx)
		case <-c.queue.wake:
			c.drain(ctx)
			// An update that was taken up is finished even while the controller closes.
			c.updates(context.WithoutCancel(ctx), c.queue.take())
		}
	}
}

// behind says whether something is to be tried again.
func (c *Controller) behind() bool { return c.watch == nil || c.latest != c.state.Load().served }

// again tries what failed last time.
func (c *Controller) again(ctx context.Context) {
	if c.watch == nil {
		c.relist(ctx)
		return
	}
	if c.behind() {
		c.serve(ctx, c.state.Load().objects)
	}
}

// drain applies what others wrote and what is known already, so that updates start from the newest state.
func (c *Controller) drain(ctx context.Context) {
	for {
		select {
		case batch, ok := <-c.watch:
			if !ok {
				c.relist(ctx)
				return
			}
			c.follow(ctx, batch)
		default:
			return
		}
	}
}

// follow applies a change that did not come through Update.
func (c *Controller) follow(ctx context.Context, batch store.Batch) {
	objects := c.state.Load().objects
	if batch.Rev <= objects.Rev() {
		return
	}
	changes := make(map[model.Key]*store.Object, len(batch.Events))
	for _, event := range batch.Events {
		changes[event.Key] = event.Object
	}
	c.serve(ctx, objects.With(batch.Rev, changes))
}

// catchUp applies the own change rev, which is stored already, together with what others wrote just before.
func (c *Controller) catchUp(ctx context.Context, others []store.Batch, rev store.Rev,
	changes map[model.Key]*store.Object) {
	all := make(map[model.Key]*store.Object, len(changes))
	for _, batch := range others {
		for _, event := range batch.Events {
			all[event.Key] = event.Object
		}
	}
	for key, object := range changes {
		all[key] = object
	}
	c.serve(ctx, c.state.Load().objects.With(rev, all))
}

// relist reads the whole store again after its watch ended.
func (c *Controller) relist(ctx context.Context) {
	c.watch = nil
	objects, err := c.load(ctx, ctx)
	if err != nil {
		c.watch = nil
		if ctx.Err() == nil && !errors.Is(err, store.ErrClosed) {
			c.logger.Error("store cannot be followed, will try again", "err", err)
		}
		c.report.StoreError = err.Error()
		c.publishReport()
		return
	}
	c.report.StoreError = ""
	c.serve(ctx, objects)
}

// serve compiles objects that are stored, whatever comes of it, and has the planes commit. When one refuses, all keep
// what they have, and again offers it later.
func (c *Controller) serve(ctx context.Context, objects *compile.Objects) {
	began := time.Now()
	c.latest = c.compiler.Compile(c.latest, objects)
	served := c.state.Load().served
	prepared, err := c.prepare(ctx, c.latest.Snapshot)
	if err != nil {
		var r *refusal
		if errors.As(err, &r) {
			c.report.Planes[r.plane].Degraded = true
		}
		c.logger.Error("stored configuration is refused, the last one stays in use", "rev", objects.Rev(), "err", err)
	} else {
		prepared.commit()
		served = c.latest
		c.committed(began)
	}
	c.publish(&state{objects: objects, served: served})
}
