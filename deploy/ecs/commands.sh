#!/bin/sh
# Commands for people, to be read into a shell: . deploy/ecs/commands.sh
# DATA and SERVICE name the two stacks.

: "${DATA:=scheduling-data}" "${SERVICE:=scheduling-service}"

# An output of a stack: output "$DATA" DataKeyArn
output() {
    aws cloudformation describe-stacks --stack-name "$1" \
        --query "Stacks[0].Outputs[?OutputKey=='$2'].OutputValue" --output text
}

# A command of kcl-app, run as a task beside the workers; prints the task's ARN: operator dead-letters list --json
operator() {
    _definition=$(output "$SERVICE" OperatorTaskDefinition) || return
    _task "$_definition" "$@"
}

# The same with the workers' own role, settings and size: as_worker doctor
as_worker() {
    _cluster=$(output "$SERVICE" ClusterName) || return
    _definition=$(aws ecs describe-services --cluster "$_cluster" --services "$(output "$SERVICE" ServiceName)" \
        --query "services[0].taskDefinition" --output text) || return
    _task "$_definition" "$@"
}

# Runs a task definition with a command.
_task() {
    _definition=$1
    shift
    _overrides=$(python3 -c '
import json, sys
print(json.dumps({"containerOverrides": [{"name": "kcl-app", "command": sys.argv[1:]}]}))' "$@") || return
    _cluster=$(output "$SERVICE" ClusterName) || return
    # In the subnets that the service is in, and as closed.
    _network=$(aws ecs describe-services --cluster "$_cluster" --services "$(output "$SERVICE" ServiceName)" \
        --query "services[0].networkConfiguration" --output json) || return
    aws ecs run-task --cluster "$_cluster" --launch-type FARGATE --platform-version 1.4.0 \
        --task-definition "$_definition" --network-configuration "$_network" --overrides "$_overrides" \
        --query "tasks[0].taskArn" --output text
}

# Waits for a task (ten minutes at most; then call it again), shows its log, and has its exit status:
#   followed "$(operator recompute --tenant acme)"
#   followed "$(as_worker doctor)" worker
followed() {
    _cluster=$(output "$SERVICE" ClusterName) || return
    aws ecs wait tasks-stopped --cluster "$_cluster" --tasks "$1" || return
    aws logs get-log-events --log-group-name "$(output "$SERVICE" LogGroupName)" \
        --log-stream-name "${2:-operator}/kcl-app/${1##*/}" --start-from-head \
        --query "events[].message" --output text | tr '\t' '\n'
    _status=$(aws ecs describe-tasks --cluster "$_cluster" --tasks "$1" \
        --query "tasks[0].containers[?name=='kcl-app'].exitCode | [0]" --output text) || return
    return "$_status"
}

# Stops all workers, and keeps the scaling from starting them again: workers stop
# Starts them again, as many as the scaling thinks right:            workers start
workers() {
    _cluster=$(output "$SERVICE" ClusterName) || return
    _name=$(output "$SERVICE" ServiceName) || return
    case $1 in
        stop) _suspended=true ;;
        start) _suspended=false ;;
        *) echo "workers stop, or workers start" >&2; return 2 ;;
    esac
    aws application-autoscaling register-scalable-target --service-namespace ecs \
        --scalable-dimension ecs:service:DesiredCount --resource-id "service/$_cluster/$_name" --suspended-state \
        "DynamicScalingInSuspended=$_suspended,DynamicScalingOutSuspended=$_suspended,ScheduledScalingSuspended=$_suspended" \
        >/dev/null || return
    if [ "$1" = stop ]; then
        _count=0
    else
        _count=$(aws application-autoscaling describe-scalable-targets --service-namespace ecs \
            --resource-ids "service/$_cluster/$_name" --query "ScalableTargets[0].MinCapacity" --output text) || return
    fi
    aws ecs update-service --cluster "$_cluster" --service "$_name" --desired-count "$_count" >/dev/null || return
    aws ecs wait services-stable --cluster "$_cluster" --services "$_name"
}
