import { z } from 'zod';
import * as build from '../build.ts';
import * as event from '../event.ts';
import * as file from '../file.ts';
import * as image from '../image.ts';
import * as inspect from '../inspect.ts';
import * as instance from '../instance.ts';
import * as operation from '../operation.ts';
import * as run from '../run.ts';
import * as server from '../server.ts';

const { ErrorBody } = server;

/** One line of the answer to a push; a fault after the first line is the last line. */
const PushLine = z.union([
  ...image.PushEvent.options,
  z.object({ type: z.literal('failed'), fault: ErrorBody.optional() }),
]);

/** Schemas that the OpenAPI document names, under the names that clients were generated from. */
export const COMPONENTS = {
  UUIDSchema: z.string().meta({ format: 'uuid' }),
  ImageSource: image.ImageSource,
  ImageSourceTag: z.string(),
  Error: ErrorBody,
  FileItem: inspect.FileItem,
  DirectoryList: inspect.DirectoryList,
  GrepSubmatch: inspect.GrepSubmatch,
  GrepMatch: inspect.GrepMatch,
  GrepResult: inspect.GrepResult,
  ImageImportRequest: image.ImageImportRequest,
  ImageImportMetadata: operation.ImageImportMetadata,
  Image: image.Image,
  ImageListResponse: image.ImageListResponse,
  StreamRepr: run.StreamRepr,
  ClosableStreamRepr: run.ClosableStreamRepr,
  InstanceResourcesLimits: run.InstanceResourcesLimits,
  InstanceNetworking: run.InstanceNetworking,
  ExecSpec: run.ExecSpec,
  FileSpec: run.FileSpec,
  InstanceSpawnRequest: run.InstanceSpawnRequest,
  InstanceResultResources: run.InstanceResultResources,
  InstanceResultState: run.InstanceResultState,
  InstanceResultStream: run.InstanceResultStream,
  InstanceResult: run.InstanceResult,
  InstanceSpawnResponse: run.InstanceSpawnResponse,
  RunStarted: run.RunStarted,
  Checkpoint: instance.Checkpoint,
  InstanceTerms: instance.InstanceTerms,
  InstanceOpenRequest: instance.InstanceOpenRequest,
  PortInfo: instance.PortInfo,
  PortLink: instance.PortLink,
  InstanceSummary: instance.InstanceSummary,
  InstanceProcess: instance.InstanceProcess,
  InstanceDetails: instance.InstanceDetails,
  InstanceSnapshot: instance.InstanceSnapshot,
  OperationInstanceMetadata: operation.OperationInstanceMetadata,
  OperationMetadata: z.union([operation.OperationInstanceMetadata, operation.ImageImportMetadata]),
  OperationSummary: operation.OperationSummary,
  OperationResponse: operation.OperationResponse,
  ExecutionReport: operation.ExecutionReport,
  FileResponse: file.FileResponse,
  File: file.File,
  BulkUploadResponse: file.BulkUploadResponse,
  FilesListResponse: file.FilesListResponse,
  WhoAmIResponse: server.WhoAmIResponse,
  OperationEventType: event.OperationEventType,
  OperationEventStream: event.OperationEventStream,
  OperationEventSSEFrame: event.OperationEventSSEFrame,
  OperationEvent: event.OperationEvent,
  EventDataInit: event.EventDataInit,
  EventDataSpawn: event.EventDataSpawn,
  EventDataStream: z.object({
    value: z.string(),
    encoding: z.enum(['ascii', 'base64']),
    truncated: z.boolean().optional(),
  }),
  EventResources: event.EventResources,
  EventDataExit: event.EventDataExit,
  EventDataTruncated: event.EventDataTruncated,
  EventDataSizeCap: event.EventDataSizeCap,
  NetworkInterface: event.NetworkInterface,
  EventDataNetwork: event.EventDataNetwork,
  EventDataSnapshot: event.EventDataSnapshot,
  EventDataEnding: event.EventDataEnding,
  EventDataShutdown: event.EventDataShutdown,
  EventDataCompletion: event.EventDataCompletion,
  ArchiveImportRequest: image.ArchiveImportRequest,
  ImagePushRequest: image.ImagePushRequest,
  BuildRequest: build.BuildRequest,
  PushEvent: PushLine,
  LineageNode: image.LineageNode,
  Lineage: image.Lineage,
  DiffEntry: inspect.DiffEntry,
  DiffResult: inspect.DiffResult,
  DeletedImages: image.DeletedImages,
  DirectoryStateEntry: file.DirectoryStateEntry,
  DirectoryState: file.DirectoryState,
  DirectoryStateResponse: file.DirectoryStateResponse,
  DoctorCheck: server.DoctorCheck,
  DoctorReport: server.DoctorReport,
  GcRequest: server.GcRequest,
  GcReport: server.GcReport,
  EngineStatus: server.EngineStatus,
  TokenRequest: server.TokenRequest,
  Token: server.Token,
  CreatedToken: server.CreatedToken,
  TokenListResponse: server.TokenListResponse,
  Quota: server.Quota,
  QuotaChange: server.QuotaChange,
  ProjectUsage: server.ProjectUsage,
  ProjectListResponse: server.ProjectListResponse,
} as const satisfies Readonly<Record<string, z.ZodType>>;

/** Schemas that rows refer to and the document shows inline. */
const INLINE = {
  TagRequest: image.TagRequest,
  InstanceList: instance.InstanceList,
  InstanceSnapshotRequest: instance.InstanceSnapshotRequest,
  InstanceCloseRequest: instance.InstanceCloseRequest,
  PortPublishRequest: instance.PortPublishRequest,
  OperationStarted: operation.OperationStarted,
  OperationSummaryList: operation.OperationSummaryList,
  SubprocessStarted: run.SubprocessStarted,
  TerminalSize: run.TerminalSize,
  DirectoryStateRequest: file.DirectoryStateRequest,
  StopRequest: server.StopRequest,
} as const satisfies Readonly<Record<string, z.ZodType>>;

/** Parameters of queries. */
const QUERIES = {
  ImageQuery: image.ImageQuery,
  DeleteQuery: image.DeleteQuery,
  TagQuery: image.TagQuery,
  FindTagQuery: image.FindTagQuery,
  DiffQuery: inspect.DiffQuery,
  PathQuery: inspect.PathQuery,
  ListQuery: inspect.ListQuery,
  TextQuery: inspect.TextQuery,
  ReadQuery: inspect.ReadQuery,
  GrepQuery: inspect.GrepQuery,
  FileQuery: file.FileQuery,
  FileNameQuery: file.FileNameQuery,
  InstanceQuery: instance.InstanceQuery,
  OperationQuery: operation.OperationQuery,
  OperationGetQuery: operation.OperationGetQuery,
  InflightQuery: operation.InflightQuery,
  EventQuery: event.EventQuery,
  KillQuery: run.KillQuery,
  DoctorQuery: server.DoctorQuery,
} as const satisfies Readonly<Record<string, z.ZodObject>>;

/** All schemas that rows refer to. */
export const SCHEMAS = { ...COMPONENTS, ...INLINE, ...QUERIES } as const;
