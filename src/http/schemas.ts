import { z } from 'zod';
import {
  DirectoryState,
  DirectoryStateEntry,
  DirectoryList,
  DiffEntry,
  DiffResult,
  DoctorCheck,
  DoctorReport,
  ArchiveImportRequest,
  ClosableStreamRepr,
  EventDataCompletion,
  EventDataExit,
  EventDataInit,
  EventDataNetwork,
  EventDataShutdown,
  EventDataSizeCap,
  EventDataSpawn,
  EventDataTruncated,
  EventResources,
  ExecSpec,
  ExecutionReport,
  File,
  FileItem,
  FileResponse,
  FileSpec,
  GcReport,
  GrepMatch,
  GrepResult,
  GrepSubmatch,
  Image,
  ImageImportMetadata,
  ImageImportRequest,
  ImagePushRequest,
  ImageSource,
  InstanceNetworking,
  InstanceResourcesLimits,
  InstanceResult,
  InstanceResultResources,
  InstanceResultState,
  InstanceSpawnRequest,
  Lineage,
  LineageNode,
  NetworkInterface,
  OperationEvent,
  OperationEventType,
  OperationInstanceMetadata,
  OperationResponse,
  OperationStatus,
  OperationSummary,
  PushEvent,
  StreamRepr,
  WhoAmIResponse,
} from '../contract/index.ts';
import { limits } from '../contract/limits.ts';
import { CreatedToken, Token, TokenRequest } from './tokens.ts';

const UUIDSchema = z.string().meta({ format: 'uuid' });

export const TagRequest = z.object({ tag: z.string() });

export const ImageListResponse = z.object({ images: z.array(Image) });
/** Of a bulk upload, in the order of the files. */
export const BulkUploadResponse = z.object({ files: z.array(FileResponse) });
export const FilesListResponse = z.object({ files: z.array(File) });
export const OperationStarted = z.object({ uuid: z.string() });
export const InstanceSpawnResponse = InstanceSpawnRequest.extend({ uuid: z.string() });
export const SubprocessStarted = z.object({ spid: z.int() });
export const TerminalSize = z.object({ columns: z.int().min(1).max(10_000), rows: z.int().min(1).max(10_000) });
export const DeletedImages = z.object({ deleted: z.array(z.string()) });
export const GcRequest = z.object({
  older_than_days: z.number().min(0).optional(),
  max_bytes: z.int().min(0).optional(),
  dry_run: z.boolean().optional(),
});
export const DirectoryStateRequest = z.object({
  entries: z.array(DirectoryStateEntry).max(limits.directoryStateEntriesMax),
});
export const DirectoryStateResponse = z.object({ state: DirectoryState.optional(), missing: z.array(z.string()) });
export const EngineStatus = z.object({
  version: z.string(),
  pid: z.int(),
  started_at: z.string(),
  /** Whether an operation waits or runs. */
  busy: z.boolean(),
});
export const StopRequest = z.object({ only_idle: z.boolean().optional() });
export const TokenListResponse = z.object({ tokens: z.array(Token) });

export const ErrorBody = z.object({
  error: z.unknown(),
  status: z.int().optional(),
  traceback: z.array(z.string()).optional(),
  code: z.string().optional(),
  class: z.string().optional(),
  message: z.string().optional(),
  hint: z.string().optional(),
  detail: z.record(z.string(), z.unknown()).optional(),
});

/** A line of the answer to a push; a fault that comes after the first line is the last one. */
const PushLine = z.union([...PushEvent.options, z.object({ type: z.literal('failed'), fault: ErrorBody.optional() })]);

/** Every schema that the OpenAPI document names, under the names that clients were generated from. */
export const SCHEMAS: Readonly<Record<string, z.ZodType>> = {
  UUIDSchema,
  ImageSource,
  ImageSourceTag: z.string(),
  Error: ErrorBody,
  FileItem,
  DirectoryList,
  GrepSubmatch,
  GrepMatch,
  GrepResult,
  ImageImportRequest,
  ImageImportMetadata,
  Image,
  ImageListResponse,
  StreamRepr,
  ClosableStreamRepr,
  InstanceResourcesLimits,
  InstanceNetworking,
  ExecSpec,
  FileSpec,
  InstanceSpawnRequest,
  InstanceResultResources,
  InstanceResultState,
  InstanceResult,
  InstanceSpawnResponse,
  OperationInstanceMetadata,
  OperationMetadata: z.union([OperationInstanceMetadata, ImageImportMetadata]),
  OperationStatus,
  OperationSummary,
  OperationResponse,
  ExecutionReport,
  FileResponse,
  File,
  BulkUploadResponse,
  FilesListResponse,
  WhoAmIResponse,
  OperationEventType,
  OperationEventStream: z.string(),
  OperationEventSSEFrame: z.object({ id: z.int(), event: OperationEventType, data: OperationEvent }),
  OperationEvent,
  EventDataInit,
  EventDataSpawn,
  EventDataStream: z.object({
    value: z.string(),
    encoding: z.enum(['ascii', 'base64']),
    truncated: z.boolean().optional(),
  }),
  EventResources,
  EventDataExit,
  EventDataTruncated,
  EventDataSizeCap,
  NetworkInterface,
  EventDataNetwork,
  EventDataShutdown,
  EventDataCompletion,
  ArchiveImportRequest,
  ImagePushRequest,
  PushEvent: PushLine,
  LineageNode,
  Lineage,
  DiffEntry,
  DiffResult,
  DeletedImages,
  DirectoryStateEntry,
  DirectoryState,
  DirectoryStateResponse,
  DoctorCheck,
  DoctorReport,
  GcRequest,
  GcReport,
  EngineStatus,
  TokenRequest,
  Token,
  CreatedToken,
  TokenListResponse,
};
