package config

import (
	"regexp"
	"strings"
)

// reference is ${{NAME}} or ${{NAME:=default}}, with blanks allowed inside the braces. "$name" and "${name}" are
// left alone: they are NGINX variables in log formats (APISIX, apisix/cli/file.lua, var_sub).
var reference = regexp.MustCompile(`(?s)\$\{\{\s*([A-Za-z0-9_]+[:=]?.*?)\s*\}\}`)

// expand replaces every reference in text. used says that there was one; missing names the variables that are
// neither set nor have a default.
func expand(text string, env func(string) (string, bool)) (out string, used bool, missing []string) {
	if !strings.Contains(text, "${{") {
		return text, false, nil
	}
	out = reference.ReplaceAllStringFunc(text, func(m string) string {
		used = true
		name, fallback, hasFallback := strings.Cut(reference.FindStringSubmatch(m)[1], ":=")
		if v, ok := env(name); ok {
			return v
		}
		if !hasFallback {
			missing = append(missing, name)
		}
		return strings.TrimSpace(fallback)
	})
	return out, used, missing
}
