package compile

import (
	"bytes"
	"fmt"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

// grouped are the kinds whose objects hold plugins that may share state with those of other objects.
var grouped = []model.Kind{model.Routes, model.Services, model.PluginConfigs, model.GlobalRules, model.Consumers, model.ConsumerGroups, model.StreamRoutes}

// group is the name under which a configuration shares its state, or "".
func (u *use) group() string {
	if u.info.Group == nil || u.plugin == nil {
		return ""
	}
	return u.info.Group(u.plugin.Conf)
}

// refGroups refuses a configuration that names a group in which another object has a different one: both would count in one place by different rules
// (apisix/plugins/limit-count/init.lua, check_schema). An object that has its group for itself may change it.
func (x *examination) refGroups(plugins uses) error {
	if x.refs == nil {
		return nil
	}
	mine := plugins.grouped()
	if len(mine) == 0 {
		return nil
	}
	c := &x.c.groups
	c.mu.Lock()
	defer c.mu.Unlock()
	total := 0
	for _, kind := range grouped {
		list := x.refs.view.List(kind)
		total += len(list)
		for _, o := range list {
			if o.Key == x.key {
				continue
			}
			for _, theirs := range c.of(o, x.c.storedGroups) {
				u := mine.find(theirs.name)
				if u != nil && u.group() == theirs.group() && !bytes.Equal(u.plugin.Conf, theirs.plugin.Conf) {
					x.c.logger.Warn("group is configured differently", "plugin", u.name, "group", clip(u.group()), "resource", resourceKey(x.key), "other", resourceKey(o.Key))
					return fmt.Errorf("failed to check the configuration of plugin %s err: group conf mismatched", u.name)
				}
			}
		}
	}
	c.trim(total)
	return nil
}

// storedGroups are the configurations of a stored object that name a group.
func (c *Compiler) storedGroups(o *store.Object) uses {
	if !bytes.Contains(o.Value, []byte(`group`)) && !bytes.Contains(o.Value, []byte(`\u`)) { // a name may be escaped
		return nil
	}
	kind := KindPlugin
	if o.Key.Kind == model.Consumers {
		kind = KindConsumer
	}
	return c.storedUses(o, kind).grouped()
}

// grouped are those of u that name a group.
func (u uses) grouped() uses {
	var out uses
	for i := range u {
		if u[i].group() != "" {
			out = append(out, u[i])
		}
	}
	return out
}
