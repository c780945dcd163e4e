package main

import (
	"log/slog"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
)

// checkRules parses a file of rule groups and returns the number of its rules.
func checkRules(file string) (int, []error) {
	groups, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, promql, slog.Default())
	if groups == nil {
		return 0, errs
	}
	rules := 0
	for _, group := range groups.Groups {
		rules += len(group.Rules)
	}
	return rules, errs
}
