package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/control/store"
)

// retryDelay is how long the controller waits before it offers a refused snapshot again, or tries again to follow a
// store that it lost.
const retryDelay = time.Second

// Controller holds the state that is served, and is the only writer of the store. See the package comment for
// the life of a change.
type Controller struct {
	store    store.Store
	compiler *compile.Compiler
	logger   *slog.Logger
	planes   []Plane

	queue queue
	// state is what readers see. Only run writes it.
	state  atomic.Pointer[state]
	status atomic.Pointer[Status]

	cancel context.CancelFunc
	done   chan struct{}
	once   sync.Once

	// The rest belongs to Start and afterwards to run.
	watch <-chan store.Batch
	// latest is compiled from state.objects. It is state.served unless a plane refused it.
	latest *compile.Result
	report Status
}

// state is one consistent state.
type state struct {
	objects *compile.Objects
	// served is what the planes have committed.
	served *compile.Result
}

// New returns a controller that is not started. Planes are prepared and committed in the order given.
func New(st store.Store, c *compile.Compiler, logger *slog.Logger, planes ...Plane) *Controller {
	ctl := &Controller{
		store: st, compiler: c, logger: logger, planes: planes,
		queue: queue{wake: make(chan struct{}, 1)},
		done:  make(chan struct{}),
	}
	for _, p := range planes {
		ctl.report.Planes = append(ctl.report.Planes, PlaneStatus{Name: p.Name()})
	}
	ctl.publish(&state{objects: compile.NewObjects(0, nil), served: c.Compile(nil, compile.NewObjects(0, nil))})
	return ctl
}

// Start loads the store, compiles it, has every plane commit it, and then follows the store until Close. Objects
// that do not compile are left out and listed in Status; they never stop the start. A plane that refuses does. The
// context bounds Start only. It must be called once.
func (c *Controller) Start(ctx context.Context) error {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	if err := c.start(ctx, run); err != nil {
		cancel()
		c.queue.close()
		close(c.done)
		return err
	}
	go c.run(run)
	return nil
}

func (c *Controller) start(ctx, run context.Context) error {
	objects, err := c.load(ctx, run)
	if err != nil {
		return fmt.Errorf("load configuration: %w", err)
	}
	began := time.Now()
	c.latest = c.compiler.Compile(nil, objects)
	prepared, err := c.prepare(ctx, c.latest.Snapshot)
	if err != nil {
		return fmt.Errorf("start with revision %d: %w", objects.Rev(), err)
	}
	prepared.commit()
	c.report.Started = time.Now()
	c.committed(began)
	c.publish(&state{objects: objects, served: c.latest})
	return nil
}

// load reads everything and begins to follow the store from there. The watch lasts as long as run.
func (c *Controller) load(ctx, run context.Context) (*compile.Objects, error) {
	for {
		list, rev, err := c.store.All(ctx)
		if err != nil {
			return nil, err
		}
		c.watch, err = c.store.Watch(run, rev)
		if errors.Is(err, store.ErrCompacted) && ctx.Err() == nil {
			// So much was written since All that its revision is forgotten already.
			continue
		}
		if err != nil {
			return nil, err
		}
		return compile.NewObjects(rev, list), nil
	}
}

// View is the latest consistent state of the stored objects.
func (c *Controller) View() compile.View { return c.state.Load().objects }

// Snapshot is what the planes have committed last.
func (c *Controller) Snapshot() *snapshot.Snapshot { return c.state.Load().served.Snapshot }

// Status is the present state of the controller. Its slices must not be changed.
func (c *Controller) Status() Status { return *c.status.Load() }

// Close ends the controller: updates in progress are finished, those that wait get store.ErrClosed. It neither closes
// the store nor the planes.
func (c *Controller) Close() error {
	c.once.Do(func() {
		if c.cancel == nil { // never started
			c.queue.close()
			close(c.done)
			return
		}
		c.cancel()
	})
	<-c.done
	return nil
}

// publish makes a state visible to readers, and the report with it.
func (c *Controller) publish(s *state) {
	c.state.Store(s)
	c.report.Rev, c.report.Served = s.objects.Rev(), store.Rev(s.served.Snapshot.Rev)
	c.report.Problems = s.served.Snapshot.Problems
	if c.latest != nil {
		c.report.Problems = c.latest.Snapshot.Problems
	}
	c.publishReport()
}

// publishReport makes a copy of the report visible.
func (c *Controller) publishReport() {
	report := c.report
	report.Planes = append([]PlaneStatus(nil), c.report.Planes...)
	report.Degraded = report.StoreError != ""
	for _, p := range report.Planes {
		report.Degraded = report.Degraded || p.Degraded
	}
	c.status.Store(&report)
}

// committed notes a commit that began at a time.
func (c *Controller) committed(began time.Time) {
	c.report.Committed = time.Now()
	c.report.Took = c.report.Committed.Sub(began)
	c.report.Commits++
	for i := range c.report.Planes {
		c.report.Planes[i].Degraded = false
	}
}

// preparedSet is a snapshot that every plane has prepared.
type preparedSet []Prepared

func (p preparedSet) commit() {
	for _, one := range p {
		one.Commit()
	}
}

func (p preparedSet) abort() {
	for _, one := range p {
		one.Abort()
	}
}

// prepare offers a snapshot to every plane. When one refuses, the others are aborted.
func (c *Controller) prepare(ctx context.Context, s *snapshot.Snapshot) (preparedSet, error) {
	var set preparedSet
	for i, plane := range c.planes {
		prepared, err := c.prepareOne(ctx, plane, s)
		if err != nil {
			set.abort()
			c.report.Planes[i].LastError = err.Error()
			c.report.Planes[i].LastErrorAt = time.Now()
			return nil, &refusal{plane: i, name: plane.Name(), err: err}
		}
		set = append(set, prepared)
	}
	return set, nil
}

// prepareOne takes a panic for a refusal.
func (c *Controller) prepareOne(ctx context.Context, plane Plane, s *snapshot.Snapshot) (prepared Prepared, err error) {
	defer func() {
		if r := recover(); r != nil {
			c.logger.Error("plane panicked", "plane", plane.Name(), "err", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return plane.Prepare(ctx, s)
}

// refusal is the error of a plane that does not take a snapshot.
type refusal struct {
	plane int
	name  string
	err   error
}

func (r *refusal) Error() string { return fmt.Sprintf("prepare %s: %v", r.name, r.err) }

// Unwrap returns what the plane said.
func (r *refusal) Unwrap() error { return r.err }
