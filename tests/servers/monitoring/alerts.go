package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"go.yaml.in/yaml/v3"
)

// testFile is a file of tests. It holds only those keys of promtool's format that our tests use; any other is an error.
type testFile struct {
	RuleFiles          []string       `yaml:"rule_files"`
	EvaluationInterval model.Duration `yaml:"evaluation_interval"`
	Tests              []testCase     `yaml:"tests"`
}

// testCase is a story: how some series go, and which alerts fire when.
type testCase struct {
	Name     string         `yaml:"name"`
	Interval model.Duration `yaml:"interval"`
	Series   []struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	} `yaml:"input_series"`
	Alerts []alertCase `yaml:"alert_rule_test"`
}

// alertCase is one alert at one time.
type alertCase struct {
	At       model.Duration  `yaml:"eval_time"`
	Name     string          `yaml:"alertname"`
	Expected []expectedAlert `yaml:"exp_alerts"`
}

// expectedAlert is an alert that fires.
type expectedAlert struct {
	Labels      map[string]string `yaml:"exp_labels"`
	Annotations map[string]string `yaml:"exp_annotations"`
}

// runTests runs the tests of a file and returns how many expectations it compared.
func runTests(file string) (int, []error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, []error{err}
	}
	var tests testFile
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&tests); err != nil {
		return 0, []error{err}
	}
	var ruleFiles []string
	for _, name := range tests.RuleFiles {
		ruleFiles = append(ruleFiles, filepath.Join(filepath.Dir(file), name))
	}
	compared, faults := 0, []error(nil)
	for _, test := range tests.Tests {
		for _, err := range test.run(time.Duration(tests.EvaluationInterval), ruleFiles) {
			faults = append(faults, fmt.Errorf("%s: %w", test.Name, err))
		}
		compared += len(test.Alerts)
	}
	return compared, faults
}

func (test testCase) run(interval time.Duration, ruleFiles []string) []error {
	load := fmt.Sprintf("load %s\n", test.Interval)
	for _, series := range test.Series {
		load += fmt.Sprintf("  %s %s\n", series.Series, series.Values)
	}
	data, err := promqltest.NewLazyLoader(load, promqltest.LazyLoaderOpts{EnableAtModifier: true, EnableNegativeOffset: true, Parser: promql})
	if err != nil {
		return []error{err}
	}
	defer data.Close()
	manager := rules.NewManager(&rules.ManagerOptions{
		Context:      context.Background(),
		QueryFunc:    rules.EngineQueryFunc(data.QueryEngine(), data.Storage()),
		NotifyFunc:   func(context.Context, string, ...*rules.Alert) {},
		AppendableV2: data.Storage(),
		Queryable:    data.Storage(),
		Logger:       slog.Default(),
		Registerer:   prometheus.NewRegistry(),
		Parser:       promql,
	})
	groups, errs := manager.LoadGroups(interval, labels.EmptyLabels(), "", nil, false, ruleFiles...)
	if len(errs) > 0 {
		return errs
	}
	var last time.Duration
	for _, alert := range test.Alerts {
		last = max(last, time.Duration(alert.At))
		if time.Duration(alert.At)%interval != 0 {
			errs = append(errs, fmt.Errorf("%s is not a multiple of the evaluation interval %s", alert.At, interval))
		}
	}
	for at := time.Duration(0); at <= last; at += interval {
		now := time.Unix(0, 0).UTC().Add(at)
		data.WithSamplesTill(now, func(err error) {
			if err != nil {
				errs = append(errs, err)
				return
			}
			for _, group := range groups {
				group.Eval(data.Context(), now)
				for _, rule := range group.Rules() {
					if err := rule.LastError(); err != nil {
						errs = append(errs, fmt.Errorf("%s at %s: %w", rule.Name(), at, err))
					}
				}
			}
		})
		for _, alert := range test.Alerts {
			if time.Duration(alert.At) == at {
				errs = append(errs, alert.compare(groups))
			}
		}
	}
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

// compare holds the alerts that fire against those that should.
func (alert alertCase) compare(groups map[string]*rules.Group) error {
	expected, firing, known := []string{}, []string{}, false
	for _, one := range alert.Expected {
		withName := map[string]string{labels.AlertName: alert.Name}
		for name, value := range one.Labels {
			withName[name] = value
		}
		expected = append(expected, describe(labels.FromMap(withName), labels.FromMap(one.Annotations)))
	}
	for _, group := range groups {
		for _, rule := range group.AlertingRules() {
			if rule.Name() != alert.Name {
				continue
			}
			known = true
			for _, active := range rule.ActiveAlerts() {
				if active.State == rules.StateFiring {
					firing = append(firing, describe(active.Labels, active.Annotations))
				}
			}
		}
	}
	if !known {
		return errors.New("no rule is named " + alert.Name)
	}
	slices.Sort(expected)
	slices.Sort(firing)
	if slices.Equal(expected, firing) {
		return nil
	}
	return fmt.Errorf("%s at %s: expected\n%s\nbut there fires\n%s", alert.Name, alert.At, list(expected), list(firing))
}

func describe(names, annotations labels.Labels) string {
	return fmt.Sprintf("  %s %s", names, annotations)
}

func list(alerts []string) string {
	if len(alerts) == 0 {
		return "  nothing"
	}
	return strings.Join(alerts, "\n")
}
