package config

import (
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	"knative.dev/serving/pkg/recording"
)

func NewConfigFromMap(data map[string]string) (*autoscalerconfig.Config, error) {
	config, err := upstreamNewConfigFromMap(data)
	recording.Write("config", recording.Fields{"data": recording.Copy(data), "config": recording.Copy(config), "failed": err != nil})
	return config, err
}
