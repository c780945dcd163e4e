package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/loki"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// variable is a use of a variable: `$name`, `${name}`, `${name:format}`.
var variable = regexp.MustCompile(`\$(?:\{(\w+)(?::\w+)?\}|(\w+))`)

// builtIn are Grafana's own variables; all of those that our queries use are durations.
var builtIn = map[string]string{"__rate_interval": "5m", "__interval": "1m", "__range": "1h", "__auto": "1m"}

// checkDashboard decodes a dashboard strictly: no field that Grafana does not know, and every field of the right type. It
// parses every PromQL query and returns how many queries there are, LogQL included, which only Loki can judge.
func checkDashboard(file string) (int, []error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, []error{err}
	}
	plugins.RegisterDefaultPlugins()
	// The strict decoder finds faults but keeps no panels: without a fault it returns an empty list, which it then takes for
	// one. So the plain decoder reads the dashboard.
	if err := new(dashboard.Dashboard).UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
		return 0, []error{err}
	}
	var board dashboard.Dashboard
	if err := json.Unmarshal(text, &board); err != nil {
		return 0, []error{err}
	}
	check := &check{variables: map[string]string{}, ids: map[uint32]bool{}}
	for name, value := range builtIn {
		check.variables[name] = value
	}
	for _, declared := range board.Templating.List {
		check.variables[declared.Name] = "x"
	}
	for _, declared := range board.Templating.List {
		if declared.Query != nil && declared.Query.String != nil {
			check.substitute("variable "+declared.Name, *declared.Query.String)
		}
	}
	for _, item := range board.Panels {
		if item.Panel != nil {
			check.panel(item.Panel)
		}
		if item.RowPanel != nil {
			check.id("row", item.RowPanel.Id)
			for _, panel := range item.RowPanel.Panels {
				check.panel(&panel)
			}
		}
	}
	return check.queries, check.faults
}

// check collects what is wrong with a dashboard.
type check struct {
	variables map[string]string
	ids       map[uint32]bool
	queries   int
	faults    []error
}

func (check *check) fault(format string, values ...any) {
	check.faults = append(check.faults, fmt.Errorf(format, values...))
}

// id fails where two panels share an id: Grafana then shows one in place of the other.
func (check *check) id(title string, id uint32) {
	if check.ids[id] {
		check.fault("%s: the id %d is used twice", title, id)
	}
	check.ids[id] = true
}

func (check *check) panel(panel *dashboard.Panel) {
	if panel.Title == nil || panel.Id == nil || panel.GridPos == nil || panel.Description == nil {
		check.fault("a panel of type %s lacks its title, id, position or description", panel.Type)
		return
	}
	title := *panel.Title
	check.id(title, *panel.Id)
	if _, known := cog.NewRuntime().ConfigForPanelcfgVariant(panel.Type); !known {
		check.fault("%s: panels of type %s are unknown", title, panel.Type)
	}
	if len(panel.Targets) == 0 {
		check.fault("%s: it asks for nothing", title)
	}
	refs := map[string]bool{}
	for _, target := range panel.Targets {
		check.queries++
		expression, ref := "", (*string)(nil)
		switch query := target.(type) {
		case *prometheus.Dataquery:
			expression, ref = check.substitute(title, query.Expr), query.RefId
			if _, err := promql.ParseExpr(expression); err != nil {
				check.fault("%s: %w in %s", title, err, query.Expr)
			}
		case *loki.Dataquery:
			expression, ref = check.substitute(title, query.Expr), query.RefId
		default:
			body, _ := json.Marshal(target)
			check.fault("%s: neither PromQL nor LogQL: %s", title, body)
		}
		if ref == nil || refs[*ref] {
			check.fault("%s: a query has no refId, or that of another", title)
			continue
		}
		refs[*ref] = true
	}
}

// substitute fills in variables as Grafana does.
func (check *check) substitute(where, text string) string {
	return variable.ReplaceAllStringFunc(text, func(use string) string {
		name := strings.Trim(strings.SplitN(use, ":", 2)[0], "${}")
		value, known := check.variables[name]
		if !known {
			check.fault("%s: the variable %s is not declared", where, use)
		}
		return value
	})
}
