"""Look up the units of common AWS metrics, and scale quantities: ``102 MiB``, ``1.4 h``. Pure.

Alarms rarely name a unit. It comes from the event or from this table of exact names, never from a part of a name:
``AWS/Lambda ProvisionedConcurrencyUtilization`` is a ratio from 0 to 1. The table follows AWS's lists of metrics:

- EC2: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/viewing_metrics_with_cloudwatch.html
- EBS: https://docs.aws.amazon.com/ebs/latest/userguide/using_cloudwatch_ebs.html
- RDS, Aurora: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-metrics.html
- Lambda: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
- load balancers: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
- SQS: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
- S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/metrics-dimensions.html
- EFS, FSx, ECS, ElastiCache, DynamoDB, API Gateway, Kinesis, Billing: the same pages of their user guides
- CloudWatch agent: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/metrics-collected-by-CloudWatch-agent.html
- NVIDIA: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-Agent-NVIDIA-GPU.html
"""

from __future__ import annotations

from cwnotify.alerts.light_dataclass import frozen

_PERCENT, _BYTES, _BYTES_S, _S, _MS = "Percent", "Bytes", "Bytes/Second", "Seconds", "Milliseconds"
_RDS = {
    _PERCENT: "CPUUtilization BurstBalance EBSIOBalance% EBSByteBalance% BufferCacheHitRatio ACUUtilization",
    _BYTES: "FreeableMemory FreeStorageSpace FreeLocalStorage SwapUsage BinLogDiskUsage TransactionLogsDiskUsage "
    "ReplicationSlotDiskUsage OldestReplicationSlotLag VolumeBytesUsed",
    _BYTES_S: "ReadThroughput WriteThroughput NetworkReceiveThroughput NetworkTransmitThroughput",
    _S: "ReadLatency WriteLatency ReplicaLag CheckpointLag EngineUptime",
    _MS: "AuroraReplicaLag AuroraReplicaLagMaximum AuroraReplicaLagMinimum CommitLatency DMLLatency SelectLatency "
    "InsertLatency UpdateLatency DeleteLatency DDLLatency AuroraGlobalDBReplicationLag",
}
_METRICS: dict[str, dict[str, str]] = {
    "AWS/EC2": {
        _PERCENT: "CPUUtilization EBSIOBalance% EBSByteBalance%",
        _BYTES: "NetworkIn NetworkOut DiskReadBytes DiskWriteBytes EBSReadBytes EBSWriteBytes",
    },
    "AWS/EBS": {
        _PERCENT: "BurstBalance VolumeThroughputPercentage",
        _BYTES: "VolumeReadBytes VolumeWriteBytes",
        _S: "VolumeTotalReadTime VolumeTotalWriteTime VolumeIdleTime",
    },
    "AWS/RDS": _RDS,
    "AWS/DocDB": _RDS,
    "AWS/Neptune": _RDS,
    "AWS/Lambda": {_MS: "Duration PostRuntimeExtensionsDuration IteratorAge AsyncEventAge"},
    "LambdaInsights": {_PERCENT: "memory_utilization"},
    "AWS/ApplicationELB": {
        _S: "TargetResponseTime",
        _BYTES: "ProcessedBytes IPv6ProcessedBytes",
    },
    "AWS/NetworkELB": {_BYTES: "ProcessedBytes ProcessedBytes_TCP ProcessedBytes_TLS ProcessedBytes_UDP"},
    "AWS/ELB": {_S: "Latency"},
    "AWS/SQS": {_S: "ApproximateAgeOfOldestMessage", _BYTES: "SentMessageSize"},
    "AWS/SNS": {_BYTES: "PublishSize"},
    "AWS/S3": {
        _BYTES: "BucketSizeBytes BytesDownloaded BytesUploaded",
        _MS: "FirstByteLatency TotalRequestLatency",
        _S: "ReplicationLatency",
    },
    "AWS/EFS": {
        _PERCENT: "PercentIOLimit",
        _BYTES: "BurstCreditBalance DataReadIOBytes DataWriteIOBytes MetadataIOBytes TotalIOBytes StorageBytes",
    },
    "AWS/FSx": {
        _PERCENT: "CPUUtilization StorageCapacityUtilization MemoryUtilization",
        _BYTES: "FreeStorageCapacity FreeDataStorageCapacity DataReadBytes DataWriteBytes",
    },
    "AWS/ECS": {
        _PERCENT: "CPUUtilization MemoryUtilization CPUReservation MemoryReservation GPUReservation "
        "EBSFilesystemUtilization"
    },
    "AWS/SageMaker": {"Microseconds": "ModelLatency OverheadLatency ModelSetupTime"},
    "/aws/sagemaker/TrainingJobs": {
        _PERCENT: "CPUUtilization MemoryUtilization GPUUtilization GPUMemoryUtilization DiskUtilization"
    },
    "/aws/sagemaker/ProcessingJobs": {
        _PERCENT: "CPUUtilization MemoryUtilization GPUUtilization GPUMemoryUtilization DiskUtilization"
    },
    "/aws/sagemaker/TransformJobs": {
        _PERCENT: "CPUUtilization MemoryUtilization GPUUtilization GPUMemoryUtilization DiskUtilization"
    },
    "/aws/sagemaker/Endpoints": {
        _PERCENT: "CPUUtilization MemoryUtilization GPUUtilization GPUMemoryUtilization DiskUtilization"
    },
    "AWS/ElastiCache": {
        _PERCENT: "CPUUtilization EngineCPUUtilization DatabaseMemoryUsagePercentage DatabaseCapacityUsagePercentage",
        _BYTES: "FreeableMemory SwapUsage BytesUsedForCache NetworkBytesIn NetworkBytesOut",
        _S: "ReplicationLag",
    },
    "AWS/DynamoDB": {_MS: "SuccessfulRequestLatency ReplicationLatency"},
    "AWS/ApiGateway": {_MS: "Latency IntegrationLatency"},
    "AWS/Kinesis": {
        _MS: "GetRecords.IteratorAgeMilliseconds GetRecords.Latency PutRecord.Latency PutRecords.Latency",
        _BYTES: "IncomingBytes GetRecords.Bytes PutRecord.Bytes PutRecords.Bytes",
    },
    "AWS/States": {_MS: "ExecutionTime ActivityRunTime ActivityScheduleTime ActivityTime LambdaFunctionTime"},
    "AWS/Logs": {_BYTES: "IncomingBytes ForwardedBytes"},
    "AWS/NATGateway": {_BYTES: "BytesInFromDestination BytesInFromSource BytesOutToDestination BytesOutToSource"},
    "AWS/CertificateManager": {"Days": "DaysToExpiry"},
    "AWS/CloudFront": {
        _PERCENT: "TotalErrorRate 4xxErrorRate 5xxErrorRate 401ErrorRate 403ErrorRate 404ErrorRate 502ErrorRate "
        "503ErrorRate 504ErrorRate CacheHitRate",
        _BYTES: "BytesDownloaded BytesUploaded",
        _MS: "OriginLatency",
    },
    "AWS/ES": {
        _PERCENT: "CPUUtilization JVMMemoryPressure MasterCPUUtilization MasterJVMMemoryPressure",
        "Megabytes": "FreeStorageSpace ClusterUsedSpace",
    },
    "AWS/Redshift": {_PERCENT: "CPUUtilization PercentageDiskSpaceUsed"},
    "ContainerInsights": {
        _PERCENT: "node_cpu_utilization node_memory_utilization node_filesystem_utilization pod_cpu_utilization "
        "pod_memory_utilization node_gpu_utilization pod_gpu_utilization container_gpu_utilization"
    },
    "CWAgent": {
        _PERCENT: "mem_used_percent mem_available_percent disk_used_percent swap_used_percent cpu_usage_active "
        "cpu_usage_idle cpu_usage_iowait cpu_usage_user cpu_usage_system cpu_usage_steal "
        "nvidia_smi_utilization_gpu nvidia_smi_utilization_memory nvidia_smi_fan_speed",
        _BYTES: "mem_total mem_used mem_free mem_available mem_cached mem_buffered mem_active mem_inactive "
        "disk_total disk_used disk_free swap_total swap_used swap_free diskio_read_bytes diskio_write_bytes "
        "net_bytes_sent net_bytes_recv",
        "Megabytes": "nvidia_smi_memory_used nvidia_smi_memory_free nvidia_smi_memory_total",
        "Celsius": "nvidia_smi_temperature_gpu",
        "Watts": "nvidia_smi_power_draw",
    },
}

_SYMBOLS = {"Percent": "%", "Celsius": "°C", "Watts": "W", "Days": "d", "Count": "", "None": ""}
_LARGE = 1e15  # from here on, figures have an exponent

# The units of one quantity, each with its size in the smallest unit and its symbol.
Ladder = tuple[tuple[float, str], ...]
_DECIMAL_BYTES: Ladder = ((1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB"), (1e15, "PB"))
_BINARY_BYTES: Ladder = tuple((1024.0**n, name) for n, name in enumerate(("B", "KiB", "MiB", "GiB", "TiB", "PiB")))
_BITS: Ladder = ((1.0, "bit"), (1e3, "kbit"), (1e6, "Mbit"), (1e9, "Gbit"), (1e12, "Tbit"))
_TIMES: Ladder = ((1.0, "µs"), (1e3, "ms"), (1e6, "s"), (6e7, "min"), (3.6e9, "h"), (8.64e10, "d"))
_COUNTS: Ladder = ((1.0, ""), (1e6, "M"), (1e9, "bn"), (1e12, "tn"), (1e15, ""))
_UNITS: dict[str, tuple[float, tuple[Ladder, ...]]] = {
    "Bytes": (1.0, (_DECIMAL_BYTES, _BINARY_BYTES)),
    "Kilobytes": (1e3, (_DECIMAL_BYTES,)),
    "Megabytes": (1e6, (_DECIMAL_BYTES,)),
    "Gigabytes": (1e9, (_DECIMAL_BYTES,)),
    "Terabytes": (1e12, (_DECIMAL_BYTES,)),
    "Bits": (1.0, (_BITS,)),
    "Kilobits": (1e3, (_BITS,)),
    "Megabits": (1e6, (_BITS,)),
    "Gigabits": (1e9, (_BITS,)),
    "Terabits": (1e12, (_BITS,)),
    "Microseconds": (1.0, (_TIMES,)),
    "Milliseconds": (1e3, (_TIMES,)),
    "Seconds": (1e6, (_TIMES,)),
    "Count": (1.0, (_COUNTS,)),
    "None": (1.0, (_COUNTS,)),
    "": (1.0, (_COUNTS,)),
}
# Sizes from which a unit is used, if that is not 1: up to 120 s instead of 2 min, up to 48 h instead of 2 d.
_USED_FROM = {"min": 120.0 * 1e6, "d": 48.0 * 3.6e9}


def metric_unit(namespace: str, metric: str) -> str:
    """Return CloudWatch's name for the unit of an AWS metric; empty if the metric is not in the table."""
    units = _METRICS.get(namespace, {})
    return next((unit for unit, names in units.items() if metric in names.split()), "")


@frozen
class QuantityFormat:
    """The format of one alarm's quantities.

    Parameters
    ----------
    factor
        The size of the metric's unit in the ladder's smallest unit.
    ladder
        The units to scale to; empty if quantities are not scaled.
    unit
        The symbol after an unscaled quantity, or the suffix of a scaled one's symbol (``/s``).
    """

    factor: float = 1.0
    ladder: Ladder = ()
    unit: str = ""

    def format(self, value: float, digits: int = 3) -> str:
        """Return ``102 MiB``, with `digits` significant digits and always all digits before the decimal point."""
        figure, unit = self.format_parts(value, digits)
        return join_unit(figure, unit)

    def format_parts(self, value: float, digits: int = 3) -> tuple[str, str]:
        """Return the figure and the unit of `value`."""
        if not self.ladder:
            return _plain_figure(value, digits), self.unit
        rung, name = self._rung(value)
        scaled = value * (self.factor / rung) if self.factor >= rung else value / (rung / self.factor)
        if name == "":
            return _plain_figure(value, digits), self.unit
        return _scaled_figure(scaled, digits), f"{name}{self.unit}"

    def format_exact(self, value: float) -> str:
        """Return `value` with all digits, in the metric's own unit."""
        name = next((name for rung, name in self.ladder if rung == self.factor), "")
        return join_unit(_trim_zeros(f"{value:,}" if abs(value) < _LARGE else repr(value)), f"{name}{self.unit}")

    def parse_parts(self, figure: str, unit: str) -> float:
        """Return the number that a figure and its unit mean to a reader, in the ladder's smallest unit."""
        name = unit.removesuffix(self.unit) if self.unit else unit
        return float(figure.replace(",", "")) * next((rung for rung, label in self.ladder if label == name), 1.0)

    def _rung(self, value: float) -> tuple[float, str]:
        size = abs(value) * self.factor
        # Zero, and quantities below the smallest unit, keep the metric's own unit.
        best = next((rung for rung in self.ladder if rung[0] == self.factor), self.ladder[0])
        if size >= self.ladder[0][0]:
            best = self.ladder[0]
            for rung, name in self.ladder:
                # With a tolerance: a size that would be printed as 1,000 kB becomes 1 MB.
                if size * 1.0000001 >= _USED_FROM.get(name, rung):
                    best = (rung, name)
        return best


def choose_quantity_format(unit: str, threshold: float | None, label: str = "") -> QuantityFormat:
    """Return the format for quantities in CloudWatch's `unit`, with the ladder on which `threshold` is shortest.

    Parameters
    ----------
    label
        The symbol of a unit that CloudWatch does not define.
    """
    base, _, per = unit.partition("/")
    suffix = "/s" if per == "Second" else ""
    if base in _UNITS:
        factor, ladders = _UNITS[base]
        ladder = min(ladders, key=lambda ladder: _count_digits(QuantityFormat(factor, ladder), threshold))
        return QuantityFormat(factor, ladder, suffix)
    return QuantityFormat(unit=_SYMBOLS.get(base, label or base) + suffix)


def join_unit(figure: str, unit: str) -> str:
    """Return ``3.2 %`` or ``2/s``."""
    return f"{figure}{unit}" if unit.startswith("/") else f"{figure} {unit}".strip()


def _count_digits(scale: QuantityFormat, threshold: float | None) -> int:
    """Return how many digits `threshold` needs, or 0 if there is none."""
    if threshold is None:
        return 0
    figure, _ = scale.format_parts(threshold, 10)
    return len(figure.replace(",", "").replace(".", "").strip("-0"))


def _scaled_figure(value: float, digits: int) -> str:
    """Format a scaled value, with an exponent only if it is very large or very small."""
    size = abs(value)
    if size >= _LARGE or 0 < size < 1e-3:
        return f"{value:.{digits}g}"
    # Adding 0.0 turns -0.0 into 0.0.
    if size >= 1:
        decimals = max(0, digits - len(str(int(size))))
        return _trim_zeros(f"{value + 0.0:,.{decimals}f}")
    return _trim_zeros(f"{value + 0.0:.{digits}g}")


def _plain_figure(value: float, digits: int) -> str:
    """Format an unscaled value: ``digits - 1`` decimals from 1 up, `digits` significant digits below 1."""
    if 1 <= abs(value) < _LARGE:
        return _trim_zeros(f"{value:,.{digits - 1}f}")
    return f"{value + 0.0:.{digits}g}"


def _trim_zeros(figure: str) -> str:
    return figure.rstrip("0").rstrip(".") if "." in figure and "e" not in figure else figure
